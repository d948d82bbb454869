"""Adapters of every kind: PEFT opens what was written and computes what the run did. In this process, to be quick."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import events, objective, run_worker, steps
from safetensors.numpy import load_file
from test_runs import assert_same

from dftune_worker.parallel import World
from dftune_worker.spec import read_spec
from dftune_worker.trainer import start, train

ADAPTER = {"type": "lora", "r": 4, "lora_alpha": 8, "lora_dropout": 0, "target_modules": "all-linear"}
PATTERNS = {
    "target_modules": r".*\.(q_proj|up_proj|down_proj)",
    "rank_pattern": {"q_proj": 2},
    "alpha_pattern": {r"layers\.1\.mlp\.up_proj": 3},
    "exclude_modules": ["layers.0.mlp.down_proj"],
}
CASES = {
    "tied": {"modules_to_save": ["lm_head", "model.norm", "layers.1.mlp.up_proj"]},
    "patterns": PATTERNS,
    "dora": {"use_dora": True, "use_rslora": True, "modules_to_save": ["layers.1.mlp.up_proj"]},
    "pissa": {"init_lora_weights": "pissa", "rank_pattern": {"q_proj": 2}, "modules_to_save": ["model.norm"]},
    "patterns-and-whole": {**PATTERNS, "modules_to_save": ["layers.1.mlp.up_proj"]},
}


def nll_of(model, folder: Path) -> float:
    """Mean over supervised tokens, row by row."""
    tensors = load_file(str(folder / "shard-00000.safetensors"))
    total, count = 0.0, 0
    for begin, end in itertools.pairwise(tensors["row_offsets"]):
        ids = torch.tensor(tensors["token_ids"][begin:end].astype(np.int64))
        mask = torch.tensor(tensors["loss_mask"][begin + 1 : end]).bool()
        with torch.no_grad():
            logp = model(ids[None]).logits[0, :-1].float().log_softmax(-1)
        total -= logp[mask, ids[1:][mask]].sum().item()
        count += int(mask.sum())
    return total / count


def run_here(spec: Path) -> list[dict]:
    """The run in this process, alone."""
    alone = World(0, 1, torch.device("cpu"))
    assert train(start(read_spec(spec), alone)) == 0
    return events(spec)


@pytest.mark.parametrize("case", ["tied", "dora", "pissa"])
def test_two_processes_are_one(make_spec, case):
    config = {"adapter": {**ADAPTER, **CASES[case], "target_modules": ["q_proj"]}}
    one = run_here(make_spec("one", objective("asft"), config=config))
    assert_same(steps(one), steps(run_worker(make_spec("two", objective("asft"), config=config), processes=2)))


def test_training_goes_on_from_an_adapter(make_spec, tmp_path):
    """Its start is where the other ended, with modules that it has whole; its reference is that, not the base."""
    adapter = {**ADAPTER, "use_dora": True, "target_modules": ["q_proj"], "modules_to_save": ["model.norm"]}
    plain = {"learning_rate": 1e-2, "lr_scheduler": "constant", "warmup_ratio": 0}
    first = make_spec("first", objective("sft"), config={"adapter": adapter, **plain})
    last = [e for e in run_here(first) if e["type"] == "eval"][-1]["nll"]
    start = Path(json.loads(first.read_text())["output_dir"]) / "model" / "adapter_model.safetensors"
    on = {"adapter": {**adapter, "path": "first"}, **plain}
    spec = make_spec("on", objective("asft"), config=on)
    spec.write_text(json.dumps(json.loads(spec.read_text()) | {"adapter_start": str(start)}))
    told = run_here(spec)
    assert next(e for e in told if e["type"] == "eval")["nll"] == pytest.approx(last, rel=1e-5)
    assert steps(told)[0]["kl_ref"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_peft_opens_what_was_trained(make_spec, tiny_model, case):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    config = {"adapter": {**ADAPTER, **CASES[case]}, "learning_rate": 1e-2}
    spec = make_spec("one", objective("dft"), config=config)
    one = run_here(spec)
    result = Path(json.loads(spec.read_text())["output_dir"]) / "model"
    base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    held_out = Path(json.loads(spec.read_text())["eval"][0]["prepared"])
    before = nll_of(base, held_out)
    after = nll_of(PeftModel.from_pretrained(base, result).eval(), held_out)
    last = [e for e in one if e["type"] == "eval"][-1]["nll"]
    assert after == pytest.approx(last, rel=1e-4)
    assert abs(after - before) > 1e-3


@pytest.mark.parametrize(
    ("adapter", "processes"),
    [(None, 1), (ADAPTER, 1), (ADAPTER | CASES["pissa"], 1), (None, 2)],
    ids=["full", "lora", "pissa", "two processes"],
)
def test_bf16_ends_with_its_evaluation_in_float32(make_spec, adapter, processes):
    """Of the weights in memory: what Transformers and PEFT say of the result, which this model's files have in float32."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    config = {"adapter": adapter, "engine": {"name": "torch", "dtype": "bf16"}}
    spec = make_spec("rough", objective("dft"), config=config)
    told = run_here(spec) if processes == 1 else run_worker(spec, processes=processes)
    rough, exact, end = [e for e in told if e["type"] in ("eval", "run.end")][-3:]
    assert [rough["name"], exact["name"], end["type"]] == ["held-out", "fp32/held-out", "run.end"]
    assert exact["nll_gap"] == rough["nll"] - exact["nll"] != 0
    assert exact["supervised_tokens"] == rough["supervised_tokens"] and "loss" not in exact
    run = json.loads(spec.read_text())
    result = Path(run["output_dir"]) / "model"
    model = AutoModelForCausalLM.from_pretrained(run["config"]["model"] if adapter else result, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, result) if adapter else model
    assert exact["nll"] == pytest.approx(nll_of(model.eval(), Path(run["eval"][0]["prepared"])), rel=1e-4)
    assert abs(exact["nll_gap"]) > 1e-4 * exact["nll"]  # so that the line above tells one from the other


def test_no_room_for_float32_is_a_warning(make_spec, monkeypatch):
    monkeypatch.setattr("dftune_worker.float32._missing_bytes", lambda run: 2.5e9)
    config = {"engine": {"name": "torch", "dtype": "bf16"}}
    warning, end = run_here(make_spec("rough", objective("dft"), config=config))[-2:]
    assert (warning["code"], end["reason"]) == ("no-float32-evaluation", "done")
    assert "2.5 GB more than is free" in warning["message"]
