"""Context parallelism: processes that share every row come to what one process does."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import WORKER, objective, run_worker, start_run, steps
from safetensors.numpy import save_file
from safetensors.torch import load_file
from test_runs import LORA, assert_same
from tiny_types import save_tiny

from dftune_worker.attention import Packing, _flex, attend_packed
from dftune_worker.context import _piece

SHARED = {"engine": {"name": "torch", "dtype": "fp32", "context_parallel": 2}}
MOST = {"micro_batch_tokens": 24}
"""A pack of two processes is then 48 tokens, as one's is."""


def result_of(spec: Path) -> dict[str, torch.Tensor]:
    folder = Path(json.loads(spec.read_text())["output_dir"]) / "model"
    return load_file(str(next(folder.glob("*.safetensors"))))


@pytest.fixture()
def spec_of(make_spec, tmp_path):
    """Six steps of six rows."""
    order = tmp_path / "short.safetensors"
    rows = np.random.default_rng(5).permutation(36).astype(np.int32)
    save_file({"order": rows, "step_offsets": np.arange(0, 37, 6, dtype=np.int64)}, str(order))
    return lambda name, objective, **more: make_spec(name, objective, order=str(order), **more)


CASES = [
    ("qwen2", "dft", {"save_steps": 3}, 2),
    ("qwen2", "asft", LORA, 2),
    ("qwen2", "own", {"data": {"packing": False}, "max_grad_norm": 0.1}, 4),
    ("qwen3_moe", "dft", {"router_aux_loss_coef": 0.1, "recompute": "always"}, 2),
]


@pytest.mark.parametrize(
    ("model_type", "name", "config", "processes"), CASES, ids=["dft", "asft-lora", "own-2x2", "experts"]
)
def test_processes_that_share_rows_are_one(spec_of, tmp_path, model_type, name, config, processes):
    more = {} if model_type == "qwen2" else {"model": str(save_tiny(model_type, tmp_path / "model"))}
    one_spec = spec_of("one", objective(name), config=config, **more)
    shared_spec = spec_of("shared", objective(name), config=config | SHARED | MOST, **more)
    one, shared = run_worker(one_spec), run_worker(shared_spec, processes)
    assert_same(steps(one), steps(shared))
    for a, b in zip(steps(one), steps(shared), strict=True):
        assert a.get("aux_loss") == pytest.approx(b.get("aux_loss"), rel=1e-4)
    evaluations = [[e for e in events if e["type"] == "eval"] for events in (one, shared)]
    for a, b in zip(*evaluations, strict=True):
        assert a["nll"] == pytest.approx(b["nll"], rel=1e-4) and a["supervised_tokens"] == b["supervised_tokens"]
    expected, found = result_of(one_spec), result_of(shared_spec)
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-5)
    if "save_steps" in config:
        checkpoint = shared_spec.parents[1] / "checkpoints" / "step-000003"
        for name, more, count in (("alone", {}, 1), ("four", SHARED | MOST, 4)):
            resumed = run_worker(spec_of(name, objective("dft"), config=more, resume=str(checkpoint)), count)
            assert_same(steps(resumed), steps(one)[3:])


def test_the_keys_of_a_piece_are_its_rows():
    """Attention of pieces, put together, is attention of the whole, and so are its gradients."""
    lengths, size = (7, 3, 1, 13), 3
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, 24, 8, requires_grad=True) for heads in (4, 2, 2))
    starts = torch.tensor([0, 7, 10, 11, 24], dtype=torch.int32)
    for window in (None, 4):
        expected = attend_packed(query, key, value, Packing(lengths, starts), None, window)
        found = []
        for piece in range(2 * size):
            packing, seen = _piece(lengths, 4 * piece, 4 * piece + 4, key.device)
            own = query[:, :, 4 * piece : 4 * piece + 4]
            theirs = (own, key[:, :, seen], value[:, :, seen])
            found.append(attend_packed(*theirs, packing, None, window))
            flexible = _flex(*(t.detach() for t in theirs), packing, None, window)  # no backward on a CPU
            torch.testing.assert_close(flexible, found[-1].detach(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(torch.cat(found, 1), expected)
        wanted = torch.autograd.grad(expected.square().sum(), (query, key, value))
        for mine, theirs in zip(
            torch.autograd.grad(torch.cat(found, 1).square().sum(), (query, key, value)), wanted, strict=True
        ):
            torch.testing.assert_close(mine, theirs)


def test_which_types_can_be_shared():
    """Gradients of one part of each process, summed, are the model's own; the others are refused before a step."""
    script = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    told = subprocess.run(
        [*script, str(Path(__file__).parent / "shared_types.py")], capture_output=True, text=True, timeout=900
    )
    assert told.returncode == 0, told.stderr[-4000:]
    found = json.loads(told.stdout.splitlines()[-1])
    page = (WORKER.parent / "docs" / "models.md").read_text()
    listed = set(re.findall(r"`(\w+)`", re.search(r"^- Shared: (.*)$", page, re.M)[1]))
    assert listed == {name for name, reason in found.items() if reason is None}
    assert all("engine.context_parallel" in reason for reason in found.values() if reason)


@pytest.mark.parametrize(
    ("change", "processes", "message"),
    [
        ({}, 3, "engine.context_parallel: 2 processes are to share every row, but there are 3"),
        ({"model": "dynamic"}, 2, '"rope_type": "dynamic"'),
    ],
    ids=["uneven", "dynamic"],
)
def test_what_cannot_be_shared_is_named(spec_of, tiny_model, tmp_path, change, processes, message):
    if change:
        shutil.copytree(tiny_model, tmp_path / "model")
        config = json.loads((tmp_path / "model/config.json").read_text())
        rotary = {"rope_theta": 10000.0, "rope_type": "dynamic", "factor": 2.0}
        (tmp_path / "model/config.json").write_text(json.dumps(config | {"rope_parameters": rotary}))
    more = {"model": str(tmp_path / "model")} if change else {}
    spec = spec_of("refused", objective("dft"), config=SHARED | MOST, **more)
    process = start_run(spec, processes)
    process.communicate(timeout=180)
    told = json.loads((spec.parent / "rank-0.error.json").read_text())
    assert told["kind"] == "input" and message in told["message"]
