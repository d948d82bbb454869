"""Learning-rate schedules of Transformers: writes schedules.json beside this file.

    python golden/schedules.py

`factors` are the multiples of the peak at Transformers' steps 1 to n.
"""

import json
import pathlib

import torch
import transformers
from transformers import get_scheduler

CASES = [
    ("cosine", 11, 3, {}),
    ("linear", 11, 0, {}),
    ("cosine_with_min_lr", 12, 3, {"min_lr_rate": 0.1}),
    ("cosine_with_min_lr", 7, 0, {"min_lr_rate": 0.5}),
    ("cosine_with_min_lr", 9, 9, {"min_lr_rate": 0.25}),
    ("warmup_stable_decay", 20, 4, {"num_decay_steps": 6}),
    ("warmup_stable_decay", 20, 4, {"num_decay_steps": 7, "decay_type": "linear", "min_lr_ratio": 0.1}),
    ("warmup_stable_decay", 20, 0, {"num_decay_steps": 5, "decay_type": "1-sqrt", "min_lr_ratio": 0.02}),
    ("warmup_stable_decay", 10, 4, {"num_decay_steps": 6, "decay_type": "cosine", "min_lr_ratio": 0.3}),
    ("warmup_stable_decay", 8, 2, {"num_decay_steps": 1}),
]


def factors(name: str, steps: int, warmup: int, options: dict) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = get_scheduler(name, optimizer, warmup, steps, scheduler_specific_kwargs=options)
    rate = schedule.lr_lambdas[0]
    return [rate(step) for step in range(1, steps + 1)]


cases = [
    {"schedule": name, "steps": steps, "warmup": warmup, "options": options, "factors": factors(name, steps, warmup, options)}
    for name, steps, warmup, options in CASES
]
golden = {"transformers": transformers.__version__, "cases": cases}
pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(golden) + "\n")
