"""Which evaluation was the best, and when to wait no longer for a better one: src/train/best-step.ts, to the word."""

import math
import re
from dataclasses import dataclass

from .errors import check


@dataclass(frozen=True)
class Best:
    """The best evaluation so far."""

    step: int
    value: float
    waited: int
    """Evaluations since, none better."""


def watches_best(config: dict) -> bool:
    return bool(config.get("load_best_model_at_end")) or config.get("early_stopping_patience") is not None


def _metric(config: dict) -> tuple[str | None, str]:
    """The evaluation's name, if one is meant, and the number: `eval_loss` is `loss`, `SET.loss` that of one set."""
    return re.fullmatch(r"(?:(.+)\.)?(?:eval_)?(.+)", config["metric_for_best_model"]).groups()


def metric_in(evaluations: list[dict], config: dict) -> float:
    """The metric in the first of these that has it."""
    name, field = _metric(config)
    found = [e[field] for e in evaluations if name in (None, e["name"]) and isinstance(e.get(field), (int, float))]
    check(
        bool(found),
        f"metric_for_best_model: {config['metric_for_best_model']} is in no evaluation of this run; name a number of its "
        "eval events, such as loss, nll or mean_p, or SET.loss of one set",
    )
    return float(found[0])


def after_evaluation(before: Best | None, step: int, value: float, config: dict) -> Best | None:
    """A value that is no number is never better."""
    if before is None:
        return Best(step, value, 0) if math.isfinite(value) else None
    _, field = _metric(config)
    asked = config["greater_is_better"]
    greater = asked if asked is not None else not field.endswith("loss") and field != "nll"
    gain = value - before.value if greater else before.value - value
    if math.isfinite(value) and gain > 0:
        return Best(step, value, 0 if gain > config["early_stopping_threshold"] else before.waited + 1)
    return Best(before.step, before.value, before.waited + 1)


def has_waited(best: Best | None, config: dict) -> bool:
    patience = config.get("early_stopping_patience")
    return patience is not None and best is not None and best.waited >= patience


def stopped_early(best: Best, config: dict) -> dict:
    """The fields of the warning."""
    loads = config["load_best_model_at_end"]
    return {
        "code": "stopped-early",
        "message": f"no evaluation has been better than that of step {best.step} ({config['metric_for_best_model']} "
        f"{best.value:#.5g}) for {best.waited} in a row, so the run ends here",
        "hint": "the result is the best step's"
        if loads
        else "load_best_model_at_end: true makes the best step's model the result",
    }
