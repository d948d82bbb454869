"""Whole runs on a CPU, with one and two processes: the same numbers, however the work is shared, stopped or resumed."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from conftest import events, objective, run_worker, start_run, steps
from safetensors.numpy import load_file

LORA = {"adapter": {"type": "lora", "r": 4, "lora_alpha": 8, "lora_dropout": 0, "target_modules": "all-linear"}}


def assert_same(a: list[dict], b: list[dict], tolerance: float = 1e-4) -> None:
    assert len(a) == len(b) > 0
    for x, y in zip(a, b, strict=True):
        for key in ("loss", "nll", "grad_norm", "mean_p", "mean_weight", "entropy", "effective_tokens", "learning_rate"):
            assert x[key] == pytest.approx(y[key], rel=tolerance, abs=1e-9), (x["step"], key)
        assert x["supervised_tokens"] == y["supervised_tokens"] and x["tokens"] == y["tokens"]


CASES = [("sft", {}), ("dft", {}), ("asft", {}), ("own", {}), ("dft", LORA), ("asft", LORA)]


@pytest.mark.parametrize(("name", "config"), CASES, ids=["sft", "dft", "asft", "own", "dft-lora", "asft-lora"])
def test_two_processes_are_one(make_spec, name, config):
    one = steps(run_worker(make_spec("one", objective(name), config=config)))
    two = steps(run_worker(make_spec("two", objective(name), config=config), processes=2))
    assert len(one) == 20
    assert one[-1]["loss"] != one[0]["loss"]
    assert_same(one, two)
