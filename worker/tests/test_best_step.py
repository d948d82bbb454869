"""The average of the weights, the best evaluation and the end of waiting: alone, stopped and gone on, and on two ranks."""

import json
from pathlib import Path

import pytest
import torch
from conftest import events, objective, run_worker, steps
from safetensors.torch import load_file
from test_adapters import ADAPTER, run_here
from test_runs import assert_same

from dftune_worker.best_step import Best, after_evaluation, metric_in

SETTINGS = {
    "load_best_model_at_end": True,
    "metric_for_best_model": "eval_loss",
    "greater_is_better": None,
    "early_stopping_patience": 3,
    "early_stopping_threshold": 0,
}
LORA = {"adapter": {**ADAPTER, "target_modules": ["q_proj"]}, "learning_rate": 0.3}
# a rate that spoils the model after a while
SPOILING = {
    "learning_rate": 3,
    "lr_scheduler": "constant",
    "warmup_ratio": 1,
    "eval_steps": 1,
    "save_steps": 2,
    "save_total_limit": 1,
}
WAYS = {
    "full": {},
    "lora": LORA,
    "bf16": {"engine": {"name": "torch", "dtype": "bf16"}},
    "averaged": {"ema_decay": 0.9},
    "averaged-bf16": {"ema_decay": 0.9, "engine": {"name": "torch", "dtype": "bf16"}},
}


def after(values, **more):
    best = None
    for step, value in enumerate(values, 1):
        best = after_evaluation(best, step, value, {**SETTINGS, **more})
    return best


def test_what_the_best_evaluation_is():
    """The cases of test/train/best-step.test.ts."""
    assert after([3, 2, 4, 2.5]) == Best(2, 2, 2)
    assert after([0.3, 0.2, 0.4], metric_for_best_model="mean_p").step == 3
    assert after([3, 2], metric_for_best_model="sums.nll").step == 2
    assert after([3, 2], greater_is_better=True).step == 1
    assert after([3, 2.99, 2.98], early_stopping_threshold=0.5) == Best(3, 2.98, 2)
    nan = float("nan")
    assert after([3, nan, 2]) == Best(3, 2, 0)
    assert after([nan, 3, 4]) == Best(2, 3, 1)
    evaluations = [{"name": "a", "loss": 1.0}, {"name": "b", "loss": 2.0, "mean_p": 0.5}]
    for metric, value in {"loss": 1, "b.loss": 2, "eval_mean_p": 0.5, "b.eval_loss": 2}.items():
        assert metric_in(evaluations, {"metric_for_best_model": metric}) == value


def output(spec: Path) -> Path:
    return Path(json.loads(spec.read_text())["output_dir"])


def weights(folder: Path) -> dict:
    return load_file(next(folder.glob("*model.safetensors")))


def evals(found: list[dict]) -> list[dict]:
    """Of steps; a bf16 run's evaluation in float32 at its end has no loss."""
    return [e for e in found if e["type"] == "eval" and e["step"] > 0 and not e["name"].startswith("fp32/")]


def of(name: str, make_spec, way: str, **more):
    config = {**SETTINGS, **SPOILING, **WAYS[way], **more.pop("config", {})}
    return make_spec(name, objective("sft"), config=config, **more)


@pytest.mark.parametrize("way", WAYS)
def test_the_result_is_the_best_step_s_and_a_resumed_run_s_too(make_spec, way):
    spec = of("whole", make_spec, way, config={"save_total_limit": None})
    found = run_here(spec)
    best = min(evals(found), key=lambda e: e["loss"])["step"]
    end = found[-1]
    assert end["reason"] == "done" and end["step"] == best + 3 < 20
    assert [e["code"] for e in found if e["type"] == "warning"] == ["stopped-early"]
    result, kept = weights(output(spec) / "model"), weights(output(spec) / f"checkpoints/step-{best:06d}")
    same = all(torch.equal(result[name], kept[name]) for name in kept)
    assert same == ("ema_decay" not in WAYS[way])  # a checkpoint's model is the weights themselves
    pruned = of("pruned", make_spec, way)
    run_here(pruned)
    checkpoints = sorted(int(p.name[5:]) for p in (output(pruned) / "checkpoints").iterdir())
    assert best in checkpoints and len(checkpoints) <= 2

    # from a checkpoint before the best, whose own stands in the run's folder
    first = sorted((output(spec) / "checkpoints").iterdir())[0]
    assert int(first.name[5:]) < best
    resumed = of("resumed", make_spec, way, resume=str(first))
    again = run_here(resumed)
    assert [e["loss"] for e in evals(again)] == [e["loss"] for e in evals(found)][int(first.name[5:]) :]
    there = weights(output(resumed) / "model")
    assert all(torch.equal(result[name], there[name]) for name in result)


@pytest.mark.parametrize("adapter", [{}, LORA], ids=["full", "lora"])
def test_the_average_is_pytorch_s(make_spec, adapter):
    """Of the weights that checkpoints hold, step by step."""
    from torch.optim.swa_utils import get_ema_avg_fn

    config = {**adapter, "ema_decay": 0.8, "save_steps": 1, "save_total_limit": None, "learning_rate": 2e-2}
    spec = make_spec("one", objective("sft"), config=config)
    found = run_here(spec)
    folders = sorted((output(spec) / "checkpoints").iterdir())
    assert len(folders) == 19
    mean, next_of = weights(folders[0]), get_ema_avg_fn(0.8)
    for folder in folders[1:]:
        mean = {name: next_of(mean[name], value, 0) for name, value in weights(folder).items()}
    plain = make_spec("plain", objective("sft"), config={**adapter, "learning_rate": 2e-2})
    last = run_here(plain)
    assert [e["loss"] for e in steps(last)] == [e["loss"] for e in steps(found)]  # training is the weights' own
    mean = {name: next_of(mean[name], value, 0) for name, value in weights(output(plain) / "model").items()}
    result = weights(output(spec) / "model")
    for name, value in mean.items():
        assert torch.allclose(result[name], value, rtol=1e-5, atol=1e-6), name


@pytest.mark.parametrize("way", ["averaged", "lora"])
def test_two_processes_are_one(make_spec, way):
    calm = {"learning_rate": 2e-3, "greater_is_better": True}  # the first evaluation is the best
    one = run_here(of("one", make_spec, way, config=calm))
    two_spec = of("two", make_spec, way, config=calm)
    two = run_worker(two_spec, processes=2)
    assert one[-1]["step"] == 4
    assert_same(steps(one), steps(two))
    for a, b in zip(evals(one), evals(two), strict=True):
        assert b["loss"] == pytest.approx(a["loss"], rel=1e-4)
    ours, theirs = weights(output(two_spec).parent / "one/model"), weights(output(two_spec) / "model")
    for name, value in ours.items():
        assert torch.allclose(theirs[name], value, rtol=1e-4, atol=1e-5), name
    assert events(two_spec)[-1]["step"] == one[-1]["step"]


def test_an_average_cannot_begin_on_the_way(make_spec):
    from dftune_worker.errors import InputError

    first = make_spec("first", objective("sft"), config={"save_steps": 10})
    run_here(first)
    resume = str(output(first) / "checkpoints/step-000010")
    again = make_spec("again", objective("sft"), config={"ema_decay": 0.9}, resume=resume)
    with pytest.raises(InputError, match="keeps no average of the weights"):
        run_here(again)


def test_a_metric_that_no_evaluation_has_is_named(make_spec):
    from dftune_worker.errors import InputError

    spec = of("metric", make_spec, "full", config={"metric_for_best_model": "bleu"})
    with pytest.raises(InputError, match="metric_for_best_model: bleu is in no evaluation"):
        run_here(spec)
