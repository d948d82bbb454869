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
        for key in (
            "loss",
            "nll",
            "grad_norm",
            "mean_p",
            "mean_weight",
            "entropy",
            "effective_tokens",
            "learning_rate",
        ):
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


def test_resume_is_the_uninterrupted_run_on_one_process_from_two(make_spec):
    config = {"save_steps": 10, "eval_steps": 20}
    whole = run_worker(make_spec("whole", objective("asft"), config=config), processes=2)
    folder = Path(json.loads(make_spec("whole", objective("asft"), config=config).read_text())["output_dir"])
    checkpoint = folder / "checkpoints" / "step-000010"
    assert {"model.safetensors", "config.json", "trainer.json"} <= {p.name for p in checkpoint.iterdir()}
    for processes in (1, 2):
        name = f"resumed-{processes}"
        resumed = run_worker(make_spec(name, objective("asft"), config=config, resume=str(checkpoint)), processes)
        assert_same(steps(whole)[10:], steps(resumed), 1e-4 if processes == 1 else 1e-9)
        assert next(e for e in resumed if e["type"] == "run.start")["resumed_from"] == str(checkpoint)
    evals = [e for e in whole if e["type"] == "eval"]
    assert evals and evals[-1]["name"] == "held-out" and evals[-1]["supervised_tokens"] > 0


def test_bf16_resume_gives_the_same_bits(make_spec):
    config = {"save_steps": 10, "engine": {"name": "torch", "dtype": "bf16"}}
    spec = make_spec("whole", objective("dft"), config=config)
    whole = run_worker(spec)
    folder = Path(json.loads(spec.read_text())["output_dir"])
    again = make_spec("resumed", objective("dft"), config=config, resume=str(folder / "checkpoints" / "step-000010"))
    resumed = run_worker(again)
    assert [e["loss"] for e in steps(whole)[10:]] == [e["loss"] for e in steps(resumed)]
    other = Path(json.loads(again.read_text())["output_dir"])
    ours, theirs = load_file(str(folder / "model/model.safetensors")), load_file(str(other / "model/model.safetensors"))
    assert ours.keys() == theirs.keys() and all((ours[k] == theirs[k]).all() for k in ours)


def test_bf16_is_near_float32(make_spec):
    exact = steps(run_worker(make_spec("exact", objective("sft"))))
    rough = steps(
        run_worker(make_spec("rough", objective("sft"), config={"engine": {"name": "torch", "dtype": "bf16"}}))
    )
    assert_same(exact[:5], rough[:5], 0.1)


def test_signal_checkpoints_and_stops_every_rank(make_spec):
    spec = make_spec("stopped", objective("dft"))
    process = start_run(spec, processes=2)
    folder = Path(json.loads(spec.read_text())["output_dir"])
    wait_for(lambda: len(steps(events(spec))) >= 2)
    (folder / "stop").touch()
    process.communicate(timeout=120)
    assert process.returncode == 0
    end = events(spec)[-1]
    assert end["type"] == "run.end" and end["reason"] == "interrupted"
    assert (folder / "checkpoints" / f"step-{end['step']:06d}" / "trainer.json").exists()


def test_sigterm_alone_exits_130(make_spec):
    spec = make_spec("stopped", objective("dft"))
    process = start_run(spec)
    wait_for(lambda: len(steps(events(spec))) >= 1)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 130


def test_killed_rank_leaves_no_orphan_and_what_was_saved(make_spec):
    spec = make_spec("killed", objective("dft"), config={"save_steps": 3})
    process = start_run(spec, processes=2)
    folder = Path(json.loads(spec.read_text())["output_dir"])
    wait_for(lambda: any(e["type"] == "checkpoint" for e in events(spec)))
    workers = worker_processes(spec)
    assert len(workers) == 2
    os.kill(workers[1], signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0 and "SIGKILL" in errors
    wait_for(lambda: not worker_processes(spec))
    saved = sorted(folder.glob("checkpoints/step-*"))
    resumed = run_worker(make_spec("killed", objective("dft"), resume=str(saved[-1])))
    assert resumed[-1]["reason"] == "done"


def test_killed_launcher_takes_its_workers_along(make_spec):
    spec = make_spec("orphans", objective("dft"))
    process = start_run(spec, processes=2)
    wait_for(lambda: len(steps(events(spec))) >= 1)
    process.kill()
    process.communicate(timeout=60)
    wait_for(lambda: not worker_processes(spec))


def test_wrong_input_is_named_and_exits_2(make_spec, tmp_path):
    cases = [
        ({"config": {"micro_batch_tokens": 10}}, "micro_batch_tokens: 10 is less than the longest row"),
        ({"prepared": str(tmp_path / "nowhere")}, "manifest.json: cannot be read"),
        ({"model": str(tmp_path / "nowhere")}, "config.json: missing"),
        ({"resume": str(tmp_path / "nowhere")}, "trainer.json: cannot be read"),
    ]
    for index, (change, message) in enumerate(cases):
        spec = make_spec(f"wrong-{index}", objective("dft"), **change)
        process = start_run(spec)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 2, errors
        assert message in errors and "Traceback" not in errors
        record = json.loads((spec.parent / "rank-0.error.json").read_text())
        assert record["kind"] == "input" and message in record["message"]


def test_damaged_shard_is_named(make_spec, tmp_path):
    spec = make_spec("damaged", objective("dft"))
    shard = tmp_path / "train" / "shard-00000.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    process = start_run(spec)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 2 and "SHA-256" in errors


def wait_for(condition, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def worker_processes(spec: Path) -> list[int]:
    """Ids of running `dftune_worker` processes of this spec, not their launcher."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            zombie = b") Z" in (entry / "stat").read_bytes()
        except OSError:
            continue
        if str(spec).encode() in words and b"torch.distributed.run" not in words and not zombie:
            found.append(int(entry.name))
    return found
