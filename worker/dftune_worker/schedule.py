"""The learning rate of a step, as the local engine has it (src/optim/schedule.ts; golden/schedules.json holds both)."""

import math

FALLS = {
    "cosine": lambda fraction: 0.5 * (1 + math.cos(math.pi * fraction)),
    "linear": lambda fraction: 1 - fraction,
    "1-sqrt": lambda fraction: 1 - math.sqrt(fraction),
}


def learning_rate(step: int, steps: int, *, peak: float, warmup: int, shape: str, options: dict | None = None) -> float:
    """Of step k of n, from 1: peak k/w in the warmup, then the shape from 1 to its floor over the remaining steps."""
    options = options or {}
    floor = options.get("min_lr_rate") or 0.0
    wsd = shape == "warmup_stable_decay"
    if step <= warmup:
        share = step / warmup
        return peak * (share * (1 - floor) + floor) if wsd else peak * step / warmup
    if shape == "constant":
        return peak
    if not wsd:
        fall = FALLS["linear" if shape == "linear" else "cosine"]((step - warmup) / (steps - warmup))
        return peak * (fall * (1 - floor) + floor if shape == "cosine_with_min_lr" else fall)
    length = decay_steps(steps, warmup, options)
    stable_end = steps - length
    if step <= stable_end:
        return peak
    return peak * (FALLS[options["decay_type"]]((step - stable_end) / length) * (1 - floor) + floor)


def decay_steps(steps: int, warmup: int, options: dict) -> int:
    """The last steps, in which warmup_stable_decay falls: at most those after the warmup."""
    given = options.get("num_decay_steps")
    return min(math.ceil(steps * options["decay_ratio"]) if given is None else given, steps - warmup)


def warmup_steps(steps: int, config: dict) -> int:
    """`warmup_steps` of the config, or `warmup_ratio` of all, rounded up."""
    given = config.get("warmup_steps")
    return min(steps, math.ceil(steps * config["warmup_ratio"]) if given is None else given)
