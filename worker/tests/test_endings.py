"""How a run ends: by every signal, with nobody who reads what it says, with every step left out."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import WORKER, events, objective, start_run, steps
from safetensors.torch import load_file, save_file
from test_runs import wait_for, worker_processes

# a terminal that is closed, a scheduler's end, Slurm's --signal=USR1@60 and its like
SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"]


@pytest.mark.parametrize("name", SIGNALS)
def test_every_signal_leaves_a_checkpoint(make_spec, name):
    spec = make_spec(name.lower(), objective("dft"))
    process = start_run(spec)
    wait_for(lambda: steps(events(spec)))
    process.send_signal(getattr(signal, name))
    process.communicate(timeout=120)
    assert process.returncode == 130
    end = events(spec)[-1]
    assert (end["type"], end["reason"]) == ("run.end", "interrupted")
    folder = Path(json.loads(spec.read_text())["output_dir"])
    assert (folder / "checkpoints" / f"step-{end['step']:06d}" / "trainer.json").exists()


def test_a_signal_to_one_rank_stops_both_after_one_step(make_spec):
    spec = make_spec("slurm", objective("dft"))
    process = start_run(spec, processes=2)
    wait_for(lambda: steps(events(spec)))
    ranks = sorted(worker_processes(spec))
    assert len(ranks) == 2
    os.kill(ranks[-1], signal.SIGUSR1)
    process.communicate(timeout=120)
    end = events(spec)[-1]
    assert (end["type"], end["reason"]) == ("run.end", "interrupted")
    folder = Path(json.loads(spec.read_text())["output_dir"])
    assert (folder / "checkpoints" / f"step-{end['step']:06d}" / "trainer.json").exists()


@pytest.mark.parametrize("how", ["reader gone", "closed"])
def test_a_run_goes_on_when_nobody_reads_it(make_spec, how):
    spec = make_spec("unread", objective("dft"))
    if how == "closed":
        command = [sys.executable, "-m", "dftune_worker", str(spec)]
        environment = {**os.environ, "PYTHONPATH": str(WORKER), "CUDA_VISIBLE_DEVICES": ""}
        process = subprocess.Popen(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *command], env=environment)
    else:
        process = start_run(spec)
        process.stderr.close()
    assert process.wait(timeout=120) == 0
    found = events(spec)
    assert len(steps(found)) == 20
    assert (found[-1]["type"], found[-1]["reason"]) == ("run.end", "done")


def test_a_run_of_which_every_step_was_skipped_fails_and_writes_no_model(make_spec, tiny_model, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in tiny_model.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    weights = load_file(str(broken / "model.safetensors"))
    weights["model.norm.weight"] = torch.full_like(weights["model.norm.weight"], float("nan"))
    save_file(weights, str(broken / "model.safetensors"), metadata={"format": "pt"})
    spec = make_spec("skipped", objective("sft"), config={"on_nonfinite": "skip"}, model=str(broken))
    process = start_run(spec)
    _, said = process.communicate(timeout=120)
    assert process.returncode not in (0, 130)
    assert "all 20 steps were skipped" in said
    found = events(spec)
    assert sum(e["type"] == "warning" and e["code"] == "skipped-step" for e in found) == 20
    assert not any(e["type"] == "run.end" and e["reason"] == "done" for e in found)
    assert not (Path(json.loads(spec.read_text())["output_dir"]) / "model").exists()
