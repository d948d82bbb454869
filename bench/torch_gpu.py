"""The torch engine on one GPU beside TRL's dft: tokens a second, peak memory, and the share of the card's measured bf16 matrix rate.

    python bench/torch_gpu.py [--shapes 0.5b,1.5b] [--tokens-per-step 16384] [--steps 8] [--ours auto,16384:always] [--trl step,8] [--cpu]

Random weights of Qwen2.5's shapes, random rows of 128 to 1,024 tokens (supervised from a third on), full fine-tuning, bf16.
Both engines see the same rows. `--ours`: micro_batch_tokens, with `recompute` after a colon (auto without). `--trl`: rows on the
device at once; `step` is all rows of a step, as in bench/trl_dft.py, 8 is TRL's default. Peak memory is what PyTorch's allocator
handed out. `--cpu` is the same script on a tiny model, to test it without a GPU. Prints a table, then one JSON line.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

WORKER = Path(__file__).parents[1] / "worker"
SHAPES = {
    "0.5b": dict(hidden_size=896, intermediate_size=4864, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2, vocab_size=151936),
    "1.5b": dict(hidden_size=1536, intermediate_size=8960, num_hidden_layers=28, num_attention_heads=12, num_key_value_heads=2, vocab_size=151936),
    "tiny": dict(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, vocab_size=512),
}
DFT = [{"op": "input", "name": "logp"}, {"op": "exp", "args": [0]}, {"op": "detach", "args": [1]}, {"op": "mul", "args": [2, 0]}, {"op": "neg", "args": [3]}]


def matrix_rate(device: torch.device) -> float:
    """Measured bf16 FLOP/s of a large product, median of runs."""
    n = 8192 if device.type == "cuda" else 512
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    times = []
    for _ in range(30 if device.type == "cuda" else 5):
        synchronise(device)
        start = time.perf_counter()
        a @ b
        synchronise(device)
        times.append(time.perf_counter() - start)
    return 2 * n**3 / float(np.median(times))


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def make_rows(tokens_per_step: int, steps: int, vocab: int, low: int, high: int) -> list[list[np.ndarray]]:
    """Rows of each step, the last one cut so that every step has exactly as many tokens."""
    random, made = np.random.default_rng(0), []
    for _ in range(steps):
        left, rows = tokens_per_step, []
        while left > 0:
            length = left if left < 2 * low else min(int(random.integers(low, high + 1)), left - low)
            rows.append(random.integers(0, vocab, length).astype(np.int32))
            left -= length
        made.append(rows)
    return made


def ours(folder: Path, model: Path, steps: list[list[np.ndarray]], device: str, micro_batch_tokens: int | str, recompute: str) -> dict:
    from safetensors.numpy import save_file

    folder = folder / f"ours-{micro_batch_tokens}-{recompute}"
    rows = [row for step in steps for row in step]
    offsets = np.concatenate([[0], np.cumsum([len(r) for r in rows])]).astype(np.int64)
    mask = np.concatenate([np.arange(len(r)) >= max(1, len(r) // 3) for r in rows]).astype(np.uint8)
    prepared = folder / "prepared"
    prepared.mkdir(parents=True)
    shard = prepared / "shard-00000.safetensors"
    count = len(rows)
    save_file({
        "token_ids": np.concatenate(rows), "loss_mask": mask, "token_class": np.zeros_like(mask), "row_offsets": offsets,
        "row_source": np.zeros(count, np.int32), "row_line": np.arange(1, count + 1, dtype=np.int32),
    }, str(shard))
    manifest = {"version": 1, "key": "bench", "rows": count, "tokens": int(offsets[-1]), "supervised_tokens": int(mask.sum()),
                "sources": [{"path": "random", "rows": count, "dropped": 0, "weight": 1}],
                "shards": [{"file": shard.name, "rows": count, "tokens": int(offsets[-1]), "sha256": hashlib.sha256(shard.read_bytes()).hexdigest()}]}
    (prepared / "manifest.json").write_text(json.dumps(manifest))
    step_offsets = np.cumsum([0, *(len(s) for s in steps)]).astype(np.int64)
    save_file({"order": np.arange(count, dtype=np.int32), "step_offsets": step_offsets}, str(folder / "order.safetensors"))
    config = {
        "model": str(model), "adapter": None, "quantization": "none", "data": {"packing": True}, "learning_rate": 1e-5, "lr_scheduler": "constant",
        "warmup_ratio": 0, "weight_decay": 0.01, "adam_beta1": 0.9, "adam_beta2": 0.95, "adam_epsilon": 1e-8, "max_grad_norm": 1.0,
        "micro_batch_tokens": micro_batch_tokens, "seed": 0, "save_steps": 0, "save_total_limit": None, "eval_steps": 0,
        "on_nonfinite": "stop", "recompute": recompute, "engine": {"name": "torch", "dtype": "bf16"}, "generate_samples": None,
    }
    spec = {"version": 1, "run_id": "bench", "config": config, "model": str(model), "prepared": str(prepared), "order": str(folder / "order.safetensors"),
            "eval": [], "objective": {"version": 1, "name": "dft", "normalization": "tokens", "nodes": DFT, "output": 4}, "output_dir": str(folder / "out"),
            "resume": None, "adapter_start": None, "normalization_in_words": "", "rows_per_epoch": count, "samples": None}
    (folder / "out").mkdir()
    (folder / "run-spec.json").write_text(json.dumps(spec))
    environment = {**os.environ, "PYTHONPATH": str(WORKER), **({"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {})}
    done = subprocess.run([sys.executable, "-m", "dftune_worker", str(folder / "run-spec.json")], env=environment, stderr=subprocess.PIPE, text=True)
    print(done.stderr.strip()[-2000:], flush=True)
    if done.returncode != 0:
        return {"failed": f"exit {done.returncode}"}
    events = [json.loads(line) for line in (folder / "out/events.jsonl").read_text().splitlines()]
    found = [e for e in events if e["type"] == "step"]
    rates = [e["tokens_per_second"] for e in found[len(found) // 3 :]]  # after compilation and the allocator's growth
    shutil.rmtree(folder / "out/model")
    return {"tokens_per_second": float(np.median(rates)), "peak_gb": found[-1]["memory_bytes"] / 1e9, "loss": found[0]["loss"]}


TRL = '''
import json, resource, sys, time
import numpy as np, torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer
model, rows_path, out, cpu, at_once = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4] == "cpu", sys.argv[5]
steps = json.load(open(rows_path))
dataset = []
size = max(len(s) for s in steps)
per_device = size if at_once == "step" else int(at_once)
size += -size % per_device
for rows in steps:
    for row in rows:
        start = max(1, len(row) // 3)
        dataset.append({"input_ids": row, "labels": [-100] * start + row[start:]})
    # every step has the same tokens; rows of two unsupervised ones make the row counts equal
    dataset += [{"input_ids": [0, 0], "labels": [-100, -100]}] * (size - len(rows))
config = SFTConfig(output_dir=out, per_device_train_batch_size=per_device, gradient_accumulation_steps=size // per_device, loss_type="dft", max_steps=len(steps),
                   learning_rate=1e-5, max_length=None, bf16=True, use_cpu=cpu, save_strategy="no", report_to=[], logging_steps=1, packing=False,
                   dataset_kwargs={"skip_prepare_dataset": True}, model_init_kwargs={"dtype": "float32"}, shuffle_dataset=False, optim="adamw_torch_fused")
times = []
class Clock(TrainerCallback):
    def on_step_begin(self, *a, **k): self.start = time.perf_counter()
    def on_step_end(self, *a, **k):
        if torch.cuda.is_available(): torch.cuda.synchronize()
        times.append(time.perf_counter() - self.start)
class InOrder(SFTTrainer):
    def _get_train_sampler(self, *a, **k): return torch.utils.data.SequentialSampler(self.train_dataset)
from transformers import AutoTokenizer, PreTrainedTokenizerFast
from tokenizers import Tokenizer, models
tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")), pad_token="b", eos_token="b")
trainer = InOrder(model=model, args=config, train_dataset=Dataset.from_list(dataset), processing_class=tokenizer, callbacks=[Clock()])
trainer.train()
tokens = sum(len(r) for r in steps[0])
peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() and not cpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
loss = next(entry["loss"] for entry in trainer.state.log_history if "loss" in entry)
print("RESULT " + json.dumps({"tokens_per_second": tokens / float(np.median(times[len(times) // 3:])), "peak_gb": peak / 1e9, "loss": loss}))
'''


def theirs(folder: Path, model: Path, steps: list[list[np.ndarray]], device: str, at_once: str) -> dict:
    (folder / "rows.json").write_text(json.dumps([[row.tolist() for row in step] for step in steps]))
    environment = {**os.environ, **({"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {})}
    done = subprocess.run([sys.executable, "-c", TRL, str(model), str(folder / "rows.json"), str(folder / "trl"), device, at_once], env=environment, capture_output=True, text=True)
    results = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not results:
        return {"failed": " / ".join(done.stderr.strip().splitlines()[-3:]) or f"exit {done.returncode}"}
    return json.loads(results[0][7:])


def flops_per_token(shape: dict, supervised_share: float, mean_context: float) -> float:
    """Of the model, forward and backward: 6 a weight that a token meets, 12 h T a layer for causal attention / 2. The head at supervised tokens only."""
    h, m, layers = shape["hidden_size"], shape["intermediate_size"], shape["num_hidden_layers"]
    kv = h * shape["num_key_value_heads"] // shape["num_attention_heads"]
    weights = layers * (2 * h * h + 2 * h * kv + 3 * h * m)
    return 6 * weights + 6 * shape["vocab_size"] * h * supervised_share + 6 * layers * h * mean_context


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="0.5b,1.5b")
    parser.add_argument("--tokens-per-step", type=int, default=16384)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--ours", default="auto,16384:always")
    parser.add_argument("--trl", default="step,8")
    parser.add_argument("--cpu", action="store_true")
    options = parser.parse_args()
    if options.cpu:
        options.shapes, options.tokens_per_step, options.steps, options.ours = "tiny", 512, 3, "128,512:always"
    elif not torch.cuda.is_available():
        sys.exit("no GPU here; --cpu tests the script on a tiny model")
    device = "cpu" if options.cpu else "cuda"
    rate = matrix_rate(torch.device(device))
    results: dict = {"device": torch.cuda.get_device_name() if device == "cuda" else "cpu", "matrix_tflops": rate / 1e12}
    for name in options.shapes.split(","):
        shape = SHAPES[name]
        low, high = (16, 64) if options.cpu else (128, 1024)
        steps = make_rows(options.tokens_per_step, options.steps, shape["vocab_size"], low, high)
        with tempfile.TemporaryDirectory() as temporary:
            folder, model = Path(temporary), Path(temporary) / "model"
            from transformers import Qwen2Config, Qwen2ForCausalLM

            torch.manual_seed(0)
            config = Qwen2Config(**shape, max_position_embeddings=32768, rope_theta=1e6, tie_word_embeddings=True)
            with torch.device(device):
                Qwen2ForCausalLM(config).save_pretrained(model)
            if device == "cuda":
                torch.cuda.empty_cache()
            measured = {}
            for setting in options.ours.split(","):
                tokens, _, recompute = setting.partition(":")
                measured[f"dftune {setting}"] = ours(folder, model, steps, device, tokens if tokens == "auto" else int(tokens), recompute or "auto")
            for at_once in filter(None, options.trl.split(",")):
                measured[f"trl {at_once}"] = theirs(folder, model, steps, device, at_once)
        lengths = np.array([len(r) for s in steps for r in s], dtype=float)
        flops = flops_per_token(shape, 2 / 3, float((lengths**2).sum() / lengths.sum()))
        for engine, numbers in measured.items():
            if "tokens_per_second" in numbers:
                numbers["model_flop_utilisation"] = numbers["tokens_per_second"] * flops / rate
            print(f"{name:6} {engine:20}", {k: v if isinstance(v, str) else round(v, 3) for k, v in numbers.items()}, flush=True)
        results[name] = measured
    print(json.dumps(results))


if __name__ == "__main__":
    main()
