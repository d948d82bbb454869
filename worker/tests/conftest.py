"""A tiny model, hand-made shards and run specs: what TypeScript would have written."""

import hashlib
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

os.environ["OMP_NUM_THREADS"] = "1"
torch.set_num_threads(1)
WORKER = Path(__file__).parents[1]
sys.path.insert(0, str(WORKER))
VOCABULARY = 97


def node(op, *args, **more):
    return {"op": op, **({"args": list(args)} if args else {}), **more}


LOGP = node("input", name="logp")
SFT = [LOGP, node("neg", 0)]
DFT = [LOGP, node("exp", 0), node("detach", 1), node("mul", 2, 0), node("neg", 3)]
ASFT = [*DFT, node("input", name="kl_ref"), node("constant", value=0.05), node("mul", 6, 5), node("add", 4, 7)]
# one of a user's own: DFT's weight against the batch's median of mean NLLs, plus a little entropy
OWN = [*DFT, node("neg", 0), node("detach", 5), node("sequence_mean", 6), node("detach", 7), node("batch_median", 8)]
OWN += [
    node("gt", 5, 9),
    node("constant", value=0.1),
    node("input", name="entropy"),
    node("mul", 11, 12),
    node("where", 10, 4, 1 + 4),
]
OWN += [node("add", 14, 13)]
NODES = {"sft": SFT, "dft": DFT, "asft": ASFT, "own": OWN}


def objective(name: str, normalization: str = "tokens") -> dict:
    nodes = NODES[name]
    return {"version": 1, "name": name, "normalization": normalization, "nodes": nodes, "output": len(nodes) - 1}


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=1,
    )
    folder = tmp_path_factory.mktemp("model")
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


def write_prepared(folder: Path, rows: int, seed: int) -> Path:
    random = np.random.default_rng(seed)
    lengths = random.integers(5, 25, rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    mask = np.zeros(offsets[-1], np.uint8)
    classes = np.zeros(offsets[-1], np.uint8)
    for start, end in itertools.pairwise(offsets):
        mask[start + int(random.integers(1, 4)) : end] = 1
        classes[end - 1] = 1
    tensors = {
        "token_ids": random.integers(0, VOCABULARY, offsets[-1]).astype(np.int32),
        "loss_mask": mask,
        "token_class": classes,
        "row_offsets": offsets,
        "row_source": np.zeros(rows, np.int32),
        "row_line": np.arange(1, rows + 1, dtype=np.int32),
    }
    folder.mkdir(parents=True)
    save_file(tensors, str(folder / "shard-00000.safetensors"))
    digest = hashlib.sha256((folder / "shard-00000.safetensors").read_bytes()).hexdigest()
    manifest = {
        "version": 1,
        "key": f"test-{seed}",
        "rows": rows,
        "tokens": int(offsets[-1]),
        "supervised_tokens": int(mask.sum()),
        "sources": [{"path": "train.jsonl", "rows": rows, "dropped": 0, "weight": 1}],
        "shards": [{"file": "shard-00000.safetensors", "rows": rows, "tokens": int(offsets[-1]), "sha256": digest}],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture()
def make_spec(tmp_path, tiny_model):
    """Writes a run spec for 20 steps of 6 rows; returns its path."""
    prepared = write_prepared(tmp_path / "train", 40, seed=1)
    held_out = write_prepared(tmp_path / "eval", 7, seed=2)
    random = np.random.default_rng(3)
    order = np.concatenate([random.permutation(40) for _ in range(3)]).astype(np.int32)
    save_file(
        {"order": order, "step_offsets": np.arange(0, 121, 6, dtype=np.int64)}, str(tmp_path / "order.safetensors")
    )

    def make(name: str, objective: dict, **changes) -> Path:
        config = {
            "model": str(tiny_model),
            "adapter": None,
            "quantization": "none",
            "data": {"packing": True},
            "learning_rate": 2e-3,
            "lr_scheduler": "cosine",
            "warmup_ratio": 0.1,
            "batch_size": 6,
            "weight_decay": 0.01,
            "adam_beta1": 0.9,
            "adam_beta2": 0.95,
            "adam_epsilon": 1e-8,
            "max_grad_norm": 1.0,
            "micro_batch_tokens": 48,
            "seed": 0,
            "save_steps": 0,
            "save_total_limit": 3,
            "eval_steps": 0,
            "on_nonfinite": "stop",
            "recompute": "auto",
            "engine": {"name": "torch", "dtype": "fp32"},
            "generate_samples": None,
        } | changes.pop("config", {})
        spec = {
            "version": 1,
            "run_id": name,
            "config": config,
            "model": str(tiny_model),
            "prepared": str(prepared),
            "order": str(tmp_path / "order.safetensors"),
            "eval": [{"name": "held-out", "prepared": str(held_out)}],
            "objective": objective,
            "output_dir": str(tmp_path / name),
            "resume": None,
            "adapter_start": None,
            "normalization_in_words": "sum / tokens",
            "rows_per_epoch": 40,
            "samples": None,
        } | changes
        folder = Path(spec["output_dir"]) / "torch"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "run-spec.json").write_text(json.dumps(spec))
        return folder / "run-spec.json"

    return make


def start_run(spec: Path, processes: int = 1, **more) -> subprocess.Popen:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    python = [sys.executable, "-m"]
    if processes > 1:
        python += ["torch.distributed.run", f"--nproc_per_node={processes}", f"--master_port={port}", "-m"]
    on_cpu = {
        "CUDA_VISIBLE_DEVICES": ""
    }  # two processes share no GPU, and numbers are a CPU's unless a test says otherwise
    environment = {**os.environ, "PYTHONPATH": str(WORKER), "OMP_NUM_THREADS": "1", **on_cpu, **more.pop("env", {})}
    return subprocess.Popen(
        [*python, "dftune_worker", str(spec)], env=environment, stderr=subprocess.PIPE, text=True, **more
    )


def run_worker(spec: Path, processes: int = 1, **more) -> list[dict]:
    process = start_run(spec, processes, **more)
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors[-4000:]
    return events(spec)


def events(spec: Path) -> list[dict]:
    path = Path(json.loads(spec.read_text())["output_dir"]) / "events.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def steps(found: list[dict]) -> list[dict]:
    return [e for e in found if e["type"] == "step"]


def spec_samples(folder: Path, prompts: int, max_new_tokens: int, every: int = 20) -> dict:
    """Prompts of 3 to 12 random tokens; a word tokenizer whose id 7 says ` w7` and shows as `<7>`. Nothing stops a completion."""
    from tokenizers import Tokenizer, decoders, models

    made = Tokenizer(models.WordLevel({f" w{i}": i for i in range(VOCABULARY)}, unk_token=" w0"))
    made.decoder = decoders.Fuse()
    made.save(str(folder / "tokenizer.json"))
    (folder / "token-texts.json").write_text(json.dumps([f"<{i}>" for i in range(VOCABULARY)]))
    random = np.random.default_rng(4)
    lists = [random.integers(0, VOCABULARY, random.integers(3, 13)).tolist() for _ in range(prompts)]
    return {
        "every": every,
        "max_new_tokens": max_new_tokens,
        "stop_token_ids": [],
        "prompts": [{"token_ids": ids, "text": "".join(f" w{i}" for i in ids)} for ids in lists],
        "token_texts": str(folder / "token-texts.json"),
        "tokenizer": str(folder / "tokenizer.json"),
    }
