"""Reward models against Transformers' ...ForSequenceClassification, called text by text: loss and every gradient."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import VOCABULARY, node, run_worker, steps
from safetensors.torch import load_file, save_file

from dftune_worker import self_check
from dftune_worker.expression import Objective
from dftune_worker.model import PackedModel, build
from dftune_worker.optimizer import AdamWSettings, Optimizer
from dftune_worker.parallel import World, place
from dftune_worker.passes import Passes
from dftune_worker.shards import PreparedRows
from dftune_worker.weights import checkpoint_name, fill_parameters, weights_of

CPU, PAD, CENTRING = torch.device("cpu"), 1, 0.01
# ln(1 + exp(-(s_c - s_r - m))) + c (s_c + s_r)^2, by what the pair's sides sum to; a pair's two
# tokens share it
SUM = [node("input", name="score"), node("detach", 0), node("pair_sum", 1), node("sub", 0, 1), node("add", 2, 3)]
SIGN = [node("input", name="pair_sign"), node("mul", 0, 5), node("detach", 6), node("pair_sum", 7), node("sub", 6, 7)]
SIGN += [node("add", 8, 9), node("input", name="margin"), node("sub", 10, 11), node("sigmoid", 12), node("log", 13)]
SIGN += [node("neg", 14), node("constant", value=CENTRING), node("mul", 4, 4), node("mul", 16, 17), node("add", 15, 18)]
HALF = [node("constant", value=0.5), node("detach", 19), node("mul", 20, 21)]
OBJECTIVE = {"version": 2, "name": "reward", "normalization": "pairs", "nodes": [*SUM, *SIGN, *HALF]}
OBJECTIVE |= {"output": 19, "value": 22, "measures": {"implicit_reward": 1}}


def write_pairs(folder: Path, rows: int = 12) -> Path:
    random, tensors = np.random.default_rng(0), {}
    for side in ("chosen.", "rejected."):
        lengths = random.integers(4, 15, rows)
        ids = random.integers(2, VOCABULARY, lengths.sum())
        ends = np.cumsum([0, *lengths])
        for end in ends[1::3]:
            ids[end - 1] = PAD  # a text that ends with padding is scored before it
        mask = np.ones(len(ids), np.uint8)
        mask[ends[:-1]] = 0
        own = {"token_ids": ids.astype(np.int32), "loss_mask": mask, "token_class": mask * 0}
        own |= {"row_offsets": ends.astype(np.int64), "row_source": np.zeros(rows, np.int32)}
        own |= {"row_line": np.arange(1, rows + 1, dtype=np.int32), "row_value": np.arange(rows, dtype=np.float32) % 3}
        tensors |= {side + name: torch.from_numpy(values) for name, values in own.items()}
    folder.mkdir(parents=True)
    shard = folder / "shard-00000.safetensors"
    save_file(tensors, str(shard))
    manifest = {"version": 2, "key": "pairs", "purpose": "scores", "rows": rows, "supervised_tokens": 100}
    manifest["sources"] = [{"path": "pairs.jsonl", "rows": rows, "dropped": 0, "weight": 1}]
    manifest["shards"] = [{"file": shard.name, "rows": rows, "sha256": hashlib.sha256(shard.read_bytes()).hexdigest()}]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture()
def rows(tmp_path) -> PreparedRows:
    return PreparedRows(write_pairs(tmp_path / "pairs"), pad_token=PAD)


@pytest.fixture()
def score(tmp_path) -> Path:
    path = tmp_path / "score.safetensors"
    save_file({"score.weight": torch.randn(1, 32, generator=torch.Generator().manual_seed(0))}, str(path))
    return path


def ours(folder: Path, rows: PreparedRows, score: Path, tokens: int):
    model = PackedModel(build(folder, None, scores=True))
    place(model, World(0, 1, CPU), torch.float32)
    fill_parameters(model, weights_of(folder, "qwen2"), 0, None, score_start=score)
    self_check.settle(model, [rows[0], rows[1]], torch.float32, CPU)
    optimizer = Optimizer(model, AdamWSettings(0.9, 0.95, 1e-8, 0.01), split=False)
    config = {"micro_batch_tokens": tokens, "data": {"packing": True}, "recompute": "auto"}
    passes = Passes(
        model, None, Objective(OBJECTIVE), World(0, 1, CPU), config | {"engine": {"dtype": "fp32"}}, 1 << 30
    )
    passes.paired = True
    outcome = passes.train(rows, np.arange(10), 1, 1, optimizer)
    names = {id(p): checkpoint_name(name) for name, p in model.named_parameters()}
    pairs = zip(optimizer.parameters, optimizer.gradients(), strict=True)
    return outcome.told, {names[id(p)]: g.clone() for p, g in pairs}


def theirs(folder: Path, rows: PreparedRows, score: Path):
    from transformers import AutoModelForSequenceClassification

    options = {"num_labels": 1, "pad_token_id": PAD, "dtype": torch.float32}
    model = AutoModelForSequenceClassification.from_pretrained(folder, **options).train()
    model.score.weight.data.copy_(load_file(str(score))["score.weight"])
    texts = [rows[i] for i in range(10)]
    s = torch.stack([model(torch.tensor(t.token_ids, dtype=torch.long)[None]).logits[0, 0] for t in texts]).double()
    margin = torch.tensor([texts[i].columns["margin"] for i in range(0, 10, 2)])
    chosen, rejected = s[0::2], s[1::2]
    loss = torch.nn.functional.softplus(-(chosen - rejected - margin)) + CENTRING * (chosen + rejected).square()
    loss.mean().backward()
    return loss.mean().item(), s.tolist(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("tokens", [256, 20])
def test_loss_scores_and_gradients_are_transformers_own(tiny_model, rows, score, tokens):
    told, gradients = ours(tiny_model, rows, score, tokens)  # 20: the sides of a pair lie in two micro-batches
    loss, scores, expected = theirs(tiny_model, rows, score)
    assert told.loss == pytest.approx(loss, rel=1e-5)
    assert [o.reward for o in told.outcomes] == pytest.approx(scores, abs=1e-5)
    assert gradients.keys() == expected.keys() and "score.weight" in expected
    for name, gradient in expected.items():
        torch.testing.assert_close(gradients[name], gradient, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("adapter", [None, {"type": "lora", "r": 4, "lora_alpha": 8, "lora_dropout": 0}])
def test_runs_of_two_processes_are_one_and_open_again(make_spec, tiny_model, rows, score, adapter):
    from transformers import AutoModelForSequenceClassification

    json_text = json.dumps(json.loads((tiny_model / "config.json").read_text()) | {"id2label": {"0": "LABEL_0"}})
    if adapter is not None:
        adapter = {**adapter, "target_modules": "all-linear"}
    more = {"score_start": str(score), "model_json": json_text, "pad_token": PAD, "prepared": str(rows.folder)}
    order = {"order": torch.arange(12, dtype=torch.int32), "step_offsets": torch.tensor([0, 6, 12])}
    save_file(order, str(rows.folder / "order.safetensors"))
    more |= {"order": str(rows.folder / "order.safetensors"), "eval": [{"name": "held", "prepared": str(rows.folder)}]}

    def run(name: str, processes: int):
        spec = make_spec(name, OBJECTIVE, config={"adapter": adapter}, **more)
        return spec, run_worker(spec, processes)

    spec, one = run("one", 1)
    _, two = run("two", 2)
    for x, y in zip(steps(one), steps(two), strict=True):
        for key in ("loss", "nll", "grad_norm", "reward_margin", "reward_chosen", "entropy"):
            assert x[key] == pytest.approx(y[key], rel=1e-4, abs=1e-5), key
    held = [e for e in one if e["type"] == "eval"]
    assert held[-1]["loss"] < held[0]["loss"] and 0 <= held[-1]["reward_accuracy"] <= 1
    assert "logp_chosen" not in steps(one)[0] and steps(one)[0]["reward_margin"] is not None
    result = Path(json.loads(spec.read_text())["output_dir"]) / "model"
    if adapter is None:
        model, told = AutoModelForSequenceClassification.from_pretrained(result, output_loading_info=True)
        assert not told["missing_keys"] and model.score.weight.shape == (1, 32)
    else:
        assert json.loads((result / "adapter_config.json").read_text())["task_type"] == "SEQ_CLS"
        names = load_file(str(result / "adapter_model.safetensors"))
        assert "base_model.model.score.weight" in names and not any("score.lora" in n for n in names)
