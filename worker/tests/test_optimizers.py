"""Optimizers beside PyTorch's, Transformers' and the papers' numbers; whole runs that stop and go on, and share their work."""

import json
from pathlib import Path

import pytest
import torch
from conftest import WORKER, events, objective, run_worker, steps
from safetensors.numpy import load_file
from test_adapters import run_here
from test_runs import assert_same

from dftune_worker.groups import Group
from dftune_worker.optimizer import AdamWSettings, Optimizer
from dftune_worker.parallel import World
from dftune_worker.rules import RuleSettings, code_map, rule_of

GOLDEN = WORKER.parent / "golden"
ALONE = World(0, 1, torch.device("cpu"))
CASES = [
    (o, name)
    for o, names in {
        "adafactor": ("wide", "tall", "vector"),
        "muon": ("wide", "tall"),
        "lion": ("matrix", "vector"),
    }.items()
    for name in names
]


class Holder(torch.nn.Module):
    def __init__(self, values):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(values))


@pytest.mark.parametrize(("optimizer", "name"), CASES)
def test_twelve_steps_are_the_reference_s(optimizer, name):
    if optimizer == "lion":
        golden = json.loads((GOLDEN / "lion.json").read_text())
        (beta1, beta2), decay, momentum = golden["options"]["betas"], golden["options"]["weight_decay"], 0.95
    else:
        whole = json.loads((GOLDEN / "whole_optimizers.json").read_text())
        golden, beta1, beta2 = whole[optimizer], 0.9, 0.95
        decay, momentum = whole["weight_decay"], whole["momentum"]
    model = Holder(golden["start"][name])
    settings = RuleSettings(beta1, beta2, 1e-8, momentum)
    made = Optimizer(
        model,
        AdamWSettings(beta1, beta2, 1e-8, decay),
        split=False,
        rules=lambda _, p: rule_of(optimizer, settings, p.shape, True),
        groups=lambda _: Group(),
        world=ALONE,
    )
    for step in golden["steps"]:
        model.weight.grad = torch.tensor(step["gradients"][name])
        made.update(step["lr"], step["scale"])
        expected = torch.tensor(step["parameters"][name])
        assert torch.allclose(model.weight.detach(), expected, rtol=2e-6, atol=2e-6)


def test_codes_are_the_local_engine_s():
    for signed in (True, False):
        values, middles = code_map(signed)
        assert len(values) == 256 and (values[1:] > values[:-1]).all() and values[-1] == 1
        assert (middles[0] == 0) == (not signed)


@pytest.mark.parametrize("optimizer", ["adamw-8bit", "muon", "adafactor", "lion"])
def test_a_resumed_run_has_the_same_bits(make_spec, optimizer):
    config = {"optimizer": optimizer, "learning_rate": 5e-4, "save_steps": 10, "freeze": ["layers.0.mlp"]}
    config["param_groups"] = [{"params": "embed_tokens", "learning_rate": 1e-4, "weight_decay": 0}]
    whole = make_spec("whole", objective("dft"), config=config)
    first = run_here(whole)
    assert steps(first)[-1]["loss"] != steps(first)[0]["loss"]
    folder = Path(json.loads(whole.read_text())["output_dir"])
    again = make_spec("resumed", objective("dft"), config=config, resume=str(folder / "checkpoints/step-000010"))
    run_here(again)
    assert [e["loss"] for e in steps(first)[10:]] == [e["loss"] for e in steps(events(again))]
    model = load_file(str(folder / "model/model.safetensors"))
    start = load_file(json.loads(whole.read_text())["model"] + "/model.safetensors")
    still = [name for name in model if (model[name] == start[name]).all()]
    assert still == [name for name in model if "layers.0.mlp" in name]


@pytest.mark.parametrize("optimizer", ["muon", "adafactor"])
def test_two_processes_are_one(make_spec, optimizer):
    config = {"optimizer": optimizer, "learning_rate": 5e-4}
    one = run_here(make_spec("one", objective("dft"), config=config))
    assert_same(steps(one), steps(run_worker(make_spec("two", objective("dft"), config=config), processes=2)))
