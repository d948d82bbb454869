"""Fixed log-probabilities, rewards and values, and how a case is recorded.

Every case holds the value, d loss / d logp for each token (ragged, same shape as the inputs), and where it came from:
  "trl"      TRL's trainer method was called with a stand-in model that returns the listed log-probabilities
  "closed"   the formula as written here (independent of TRL), also checked by central differences
Both are stored where both exist; `agree` is the largest absolute difference of value and gradient.
TRL's methods are imported and called; none of its code is in here.
"""

import math
import os
import types

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
import torch

torch.set_default_dtype(torch.float64)
NS = types.SimpleNamespace

CHOSEN = [[-0.2, -1.3, -0.05], [-2.0, -0.7], [-0.4, -0.9, -3.1, -0.01]]
REJECTED = [[-1.1, -0.6], [-0.3, -2.5, -0.8, -1.9], [-4.2]]
REF_CHOSEN = [[-0.5, -1.0, -0.3], [-1.6, -0.9], [-0.6, -0.7, -2.2, -0.2]]
REF_REJECTED = [[-0.9, -0.8], [-0.7, -1.9, -0.6, -1.1], [-2.7]]
# KTO: six unpaired rows = the rows above, chosen are desirable; KL rows: the mismatched pairs' log-probabilities
KL_POLICY = [[-3.0, -1.2], [-2.2, -0.4, -1.0], [-1.5], [-0.9, -0.9], [-2.6, -0.3], [-0.8, -1.4, -0.2]]
KL_REF = [[-3.3, -1.4], [-2.0, -0.9, -1.2], [-1.9], [-1.0, -0.9], [-2.9, -0.2], [-1.1, -1.5, -0.4]]

# GRPO: 3 groups of 3 samples; the third group's rewards are all equal
GROUP = 3
REWARDS = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0]
LOGP = [
    [-0.10, -1.20, -0.70], [-2.00], [-0.35, -0.90],
    [-0.60, -0.05, -1.80, -0.25], [-0.45, -2.40], [-1.00, -0.15],
    [-0.80, -0.30], [-0.55], [-1.25, -0.65, -0.02],
]
OLD = [
    [-0.15, -1.60, -0.60], [-1.70], [-0.75, -0.80],
    [-0.95, -0.04, -1.45, -0.30], [-0.50, -2.10], [-1.35, -0.55],
    [-0.70, -0.45], [-0.55], [-1.65, -0.60, -0.03],
]
REF = [
    [-0.30, -1.10, -0.90], [-1.50], [-0.55, -1.00],
    [-0.75, -0.20, -1.30, -0.35], [-0.80, -1.90], [-1.10, -0.40],
    [-0.60, -0.50], [-0.70], [-1.45, -0.85, -0.10],
]
# what a rollout engine with other numerics reported for the same tokens
SAMPLING = [
    [-0.16, -1.52, -0.61], [-1.74], [-0.73, -0.83],
    [-1.90, -0.05, -1.44, -0.31], [-0.49, -2.12], [-1.33, -0.52],
    [-0.71, -0.44], [-0.56], [-1.60, -0.61, -0.03],
]
ENTROPY = [
    [0.30, 1.40, 0.90], [2.10], [0.60, 1.10],
    [0.95, 0.10, 1.80, 0.40], [0.70, 2.30], [1.20, 0.25],
    [0.85, 0.50], [0.65], [1.50, 0.80, 0.05],
]
MAX_COMPLETION = 5
# PPO with a critic: rewards only at the last token; values before and after an update
VALUES_OLD = [
    [0.20, 0.35, 0.50], [0.10], [0.15, 0.05],
    [0.40, 0.45, 0.60, 0.70], [0.55, 0.65], [0.30, 0.20],
    [0.70, 0.80], [0.90], [0.60, 0.75, 0.85],
]
VALUES = [
    [0.30, 0.95, 0.40], [-0.25], [0.20, -0.60],
    [0.45, 0.50, 1.30, 0.93], [0.60, 0.80], [0.12, -0.34],
    [0.75, 0.95], [1.05], [1.30, 0.70, 0.95],
]


def pad(rows, fill=0.0, width=None):
    width = width or max(map(len, rows))
    return torch.tensor([r + [fill] * (width - len(r)) for r in rows])


def mask_of(rows, width=None):
    width = width or max(map(len, rows))
    return torch.tensor([[1.0] * len(r) + [0.0] * (width - len(r)) for r in rows])


def ragged(tensor, rows):
    return [[float(tensor[i, t]) for t in range(len(r))] for i, r in enumerate(rows)]


def leaf(rows, width=None):
    return pad(rows, width=width).requires_grad_(True)


ACCELERATOR = NS(
    device=torch.device("cpu"), num_processes=1, process_index=0, sync_gradients=True,
    gather=lambda x: x, gather_for_metrics=lambda x: x, reduce=lambda x, reduction="sum": x,
    unwrap_model=lambda m: m,
)


class Metrics(dict):
    def __missing__(self, key):
        self[key] = []
        return self[key]


def metrics_holder():
    return {"train": Metrics(), "eval": Metrics()}


def numbers(metrics):
    out = {}
    for name, values in metrics["train"].items():
        if values and all(isinstance(v, (int, float)) for v in values):
            out[name] = values[-1]
    return out


def differences(f, logp, rows, h=1e-6):
    """Central differences of f over every token: an independent check of a closed form's gradient."""
    base = logp.detach().clone()
    grad = torch.zeros_like(base)
    for i, row in enumerate(rows):
        for t in range(len(row)):
            up, down = base.clone(), base.clone()
            up[i, t] += h
            down[i, t] -= h
            grad[i, t] = (f(up) - f(down)) / (2 * h)
    return grad


def biggest(a, b):
    return float((a - b).abs().max())


cases = []


def record(name, family, rows, config, *, trl_call=None, closed=None, value_only_differs=None, note=None, differentiable=True, metrics=None, extra=None):
    """trl_call() -> (value, leaf, metrics) ; closed(logp) -> value"""
    entry = {"name": name, "family": family, "config": config}
    if note:
        entry["note"] = note
    if trl_call is not None:
        value, x, found = trl_call()
        grad = torch.autograd.grad(value, x)[0]
        entry["trl"] = {"loss": float(value.detach()), "d_logp": ragged(grad, rows)}
        if found:
            entry["trl"]["metrics"] = found
    if closed is not None:
        x = leaf(rows)
        value = closed(x)
        grad = torch.autograd.grad(value, x)[0]
        entry["closed"] = {"loss": float(value.detach()), "d_logp": ragged(grad, rows)}
        if differentiable:
            entry["closed"]["finite_difference_error"] = biggest(differences(lambda y: closed(y).detach(), x, rows), grad)
        if trl_call is not None:
            a, b = entry["trl"], entry["closed"]
            flat = [abs(p - q) for r, s in zip(a["d_logp"], b["d_logp"]) for p, q in zip(r, s)]
            entry["agree"] = {"loss": abs(a["loss"] - b["loss"]), "d_logp": max(flat)}
    if extra:
        entry.update(extra)
    cases.append(entry)
    return entry
