"""Pairs and labels: the reference is measured once, kept, and the same however the work is shared, stopped or resumed.

preference_objectives.json holds `objectiveToJson(objectiveFromConfig(name))` of dftune/objectives.
"""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
from conftest import VOCABULARY, events, run_worker, start_run, steps
from safetensors.numpy import load_file, save_file

from dftune_worker.reference import hash_of

OBJECTIVES = json.loads(Path(__file__).with_name("preference_objectives.json").read_text())
LORA = {"adapter": {"type": "lora", "r": 4, "lora_alpha": 8, "lora_dropout": 0, "target_modules": "all-linear"}}
ROWS = 18


def write_rows(folder: Path, paired: bool) -> Path:
    """Prompts of two to five tokens with answers of one to seven, the sides of a pair behind the same prompt."""
    random = np.random.default_rng(4)
    prompts = [random.integers(3, VOCABULARY, random.integers(2, 6)) for _ in range(ROWS)]
    tensors = {}
    for side in ("chosen.", "rejected.") if paired else ("",):
        answers = [random.integers(3, VOCABULARY, random.integers(1, 8)) for _ in range(ROWS)]
        ids = [np.concatenate(both) for both in zip(prompts, answers, strict=True)]
        masks = [np.arange(len(row)) >= len(prompt) for row, prompt in zip(ids, prompts, strict=True)]
        tensors |= {
            f"{side}token_ids": np.concatenate(ids).astype(np.int32),
            f"{side}loss_mask": np.concatenate(masks).astype(np.uint8),
            f"{side}token_class": np.zeros(sum(map(len, ids)), np.uint8),
            f"{side}row_offsets": np.cumsum([0, *map(len, ids)]).astype(np.int64),
            f"{side}row_source": np.zeros(ROWS, np.int32),
            f"{side}row_line": np.arange(1, ROWS + 1, dtype=np.int32),
        }
    folder.mkdir(parents=True)
    save_file(tensors, str(folder / "shard-00000.safetensors"))
    tokens = sum(len(v) for k, v in tensors.items() if k.endswith("token_ids"))
    manifest = {
        "version": 2,
        "key": folder.name,
        "purpose": "preference" if paired else "labels",
        "rows": ROWS,
        "tokens": tokens,
        "supervised_tokens": int(sum(v.sum() for k, v in tensors.items() if k.endswith("loss_mask"))),
        "sources": [{"path": "rows.jsonl", "rows": ROWS, "dropped": 0, "weight": 1}],
        "shards": [
            {
                "file": "shard-00000.safetensors",
                "rows": ROWS,
                "tokens": tokens,
                "sha256": hashlib.sha256((folder / "shard-00000.safetensors").read_bytes()).hexdigest(),
            }
        ],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture()
def preference_spec(make_spec, tmp_path):
    """A run of 8 steps of 3 pairs or 6 labelled rows; its prepared folder is one for all runs of a test."""
    order = np.random.default_rng(5).permutation(np.tile(np.arange(ROWS), 3)).astype(np.int32)

    def make(name: str, objective: str, **changes) -> Path:
        paired, size = objective == "dpo", 3 if objective == "dpo" else 6
        prepared, path = tmp_path / f"rows-{objective}", tmp_path / f"order-{objective}.safetensors"
        if not prepared.exists():
            write_rows(prepared, paired)
            offsets = np.arange(0, 8 * size + 1, size, dtype=np.int64)
            save_file({"order": order[: 8 * size], "step_offsets": offsets}, str(path))
            labels = np.where(np.arange(ROWS) % 2 == 0, 1.0, -1.0).astype(np.float32)
            save_file({"pair_sign": labels}, str(tmp_path / "labels.safetensors"))
        columns = None if paired else str(tmp_path / "labels.safetensors")
        config = {"batch_size": size, "data": {"packing": True, "max_length": 32}, "save_steps": 4} | changes.pop(
            "config", {}
        )
        spec = make_spec(name, OBJECTIVES[objective], config=config, **changes)
        told = json.loads(spec.read_text()) | {
            "prepared": str(prepared),
            "order": str(path),
            "row_columns": columns,
            "reference_key": "of the tiny model",
            "eval": [{"name": "held-out", "prepared": str(prepared), "row_columns": columns}],
        }
        spec.write_text(json.dumps(told))
        return spec

    return make


def stored(spec: Path) -> list[Path]:
    return sorted(Path(json.loads(spec.read_text())["prepared"]).glob("reference-torch-*.safetensors"))


def told(found: list[dict]) -> list[tuple]:
    fields = ("loss", "grad_norm", "reward_margin", "reward_chosen", "logp_chosen")
    return [tuple(step.get(field) for field in fields) for step in steps(found)]


@pytest.mark.parametrize(("name", "config"), [("dpo", {}), ("dpo", LORA), ("kto", {})], ids=["dpo", "lora", "kto"])
def test_the_reference_is_measured_once_and_two_processes_are_one(preference_spec, name, config):
    first = preference_spec("first", name, config=config)
    one = run_worker(first)
    assert len(stored(first)) > 0
    assert steps(one)[0]["loss"] == pytest.approx(math.log(2) if name == "dpo" else 0.5, abs=1e-5)
    evals = [e for e in one if e["type"] == "eval"]
    assert evals[0]["loss"] == pytest.approx(math.log(2) if name == "dpo" else 0.5, abs=1e-5)
    assert evals[-1]["loss"] < evals[0]["loss"]
    before = {path: path.stat().st_mtime_ns for path in stored(first)}
    again = run_worker(preference_spec("again", name, config=config))
    assert told(again) == told(one)
    assert {path: path.stat().st_mtime_ns for path in stored(first)} == before
    two = run_worker(preference_spec("two", name, config=config), processes=2)
    for x, y in zip(told(one), told(two), strict=True):
        assert y == pytest.approx(x, rel=1e-4, abs=1e-5)


def test_a_resumed_run_gives_the_same_bits_its_reference_kept_or_not(preference_spec):
    spec = preference_spec("whole", "dpo")
    whole = run_worker(spec)
    folder = Path(json.loads(spec.read_text())["output_dir"])
    for kept in (True, False):
        if not kept:
            for path in stored(spec):
                path.unlink()
        again = preference_spec(f"resumed-{kept}", "dpo", resume=str(folder / "checkpoints" / "step-000004"))
        resumed = run_worker(again)
        assert told(resumed) == told(whole)[4:]
        model = Path(json.loads(again.read_text())["output_dir"]) / "model/model.safetensors"
        ours, theirs = load_file(str(folder / "model/model.safetensors")), load_file(str(model))
        assert all((ours[key] == theirs[key]).all() for key in ours)


@pytest.mark.parametrize("cut", [True, False])
def test_a_stored_reference_that_was_damaged_is_measured_again_and_told(preference_spec, cut):
    spec = preference_spec("first", "dpo")
    whole = run_worker(spec)
    for path in stored(spec):
        content = bytearray(path.read_bytes())
        content[-3] ^= 1
        path.write_bytes(content[:-40] if cut else content)
    again = run_worker(preference_spec("again", "dpo"))
    assert told(again) == told(whole)
    assert "damaged-cache" in [event["code"] for event in again if event["type"] == "warning"]


def test_numbers_of_another_reference_stop_the_run_before_anything_changes(preference_spec):
    spec = preference_spec("first", "dpo")
    run_worker(spec)
    for path in stored(spec):
        tensors = load_file(str(path))
        del tensors["sha256"]
        chosen = np.repeat(tensors["sequences"] % 2 == 0, tensors["lengths"])
        tensors["ref_logp"] -= chosen
        save_file(tensors | {"sha256": hash_of(path, tensors)}, str(path))
    other = preference_spec("other", "dpo")
    process = start_run(other)
    process.communicate(timeout=180)
    assert process.returncode == 2
    error = json.loads((other.parent / "rank-0.error.json").read_text())
    assert "reference-mismatch" in error["message"] and "0.693147" in error["message"]
    assert steps(events(other)) == []
