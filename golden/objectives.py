"""Every objective of the family in plain PyTorch, on logits, with autograd: writes objectives.json beside this file.

    python golden/objectives.py

Formulas are those of docs/method.md, 2 and of the papers named there, written with torch's own functions and `detach`, independently of
src/objectives. Numbers have 12 significant digits.
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F

torch.manual_seed(1)
torch.set_default_dtype(torch.float64)
T, V, STEP, STEPS = 9, 24, 25, 100
SEQUENCES = [0, 0, 0, 1, 1, 2, 2, 2, 2]
sequence = torch.tensor(SEQUENCES)
logits = torch.randn(T, V) * 2.5
labels = torch.randint(0, V, (T,))
# Some targets likely, some very unlikely, as in real data.
logits[torch.arange(T), labels] += torch.tensor([6.0, 3, 0, -4, 8, 2, -9, 4, 1])
reference = logits + 0.4 * torch.randn(T, V)
old = logits + 0.2 * torch.randn(T, V)
advantage = torch.tensor([1.0, 1, 1, -0.5, -0.5, 0.25, 0.25, 0.25, 0.25])
token_class = torch.tensor([0, 0, 1, 0, 1, 2, 0, 0, 1])


def target(z):
    return F.log_softmax(z, -1).gather(-1, labels[:, None])[:, 0]


def entropy_of(z):
    return torch.distributions.Categorical(logits=z).entropy()


def sequence_mean(x):
    return torch.stack([x[sequence == s].mean() for s in SEQUENCES])


ref_logp, old_logp = target(reference), target(old)


def kl_to(z):
    return F.kl_div(F.log_softmax(z, -1), F.log_softmax(reference, -1), reduction="none", log_target=True).sum(-1)


def clipped(z, adv, low, high):
    ratio = torch.exp(target(z) - old_logp)
    return -torch.min(ratio * adv, torch.clamp(ratio, 1 - low, 1 + high) * adv)


def weighted(weight):
    return lambda z: weight(z).detach() * F.cross_entropy(z, labels, reduction="none")


def p_of(z):
    return F.softmax(z, -1).gather(-1, labels[:, None])[:, 0]


def ce(z):
    return F.cross_entropy(z, labels, reduction="none")


def tau(z):
    means = torch.stack([ce(z)[sequence == s].mean() for s in range(3)])
    return means.median()


def idft_weight(z, wmin=0.1, wmax=1.0):
    return wmax - (wmax - wmin) * torch.sigmoid(-(target(z) + entropy_of(z)))


def k3(z):
    log_ratio = ref_logp - target(z)
    return log_ratio.exp() - log_ratio - 1


def special_kept(z):
    return torch.where(token_class > 0, torch.ones(T), p_of(z))


CASES = [
    ({"name": "sft"}, ce),
    ({"name": "dft"}, weighted(p_of)),
    ({"name": "power", "a": 0.5}, weighted(lambda z: p_of(z).sqrt())),
    ({"name": "power", "a": 1, "b": 1}, weighted(lambda z: p_of(z) * (1 - p_of(z)))),
    ({"name": "alpha", "a": 1}, lambda z: 1 - p_of(z)),
    ({"name": "alpha", "a": 10}, lambda z: (1 - p_of(z) ** 10) / 10),
    ({"name": "threshold", "tau": 0.2}, weighted(lambda z: (p_of(z) > 0.2).double())),
    ({"name": "mix", "a": 0.3}, weighted(lambda z: 0.3 * p_of(z) + 0.7)),
    ({"name": "focal", "g": 2}, lambda z: (1 - p_of(z)) ** 2 * ce(z)),
    ({"name": "luffy", "g": 0.1}, lambda z: 1 - p_of(z) / (p_of(z) + 0.1)),
    ({"name": "eaft", "alpha": 1.5}, weighted(lambda z: (entropy_of(z.topk(20, -1).values) / math.log(20)) ** 1.5)),
    ({"name": "talr"}, weighted(lambda z: torch.clamp(p_of(z) ** (1 / tau(z)), min=0.01))),
    ({"name": "idft", "ramp": {"start": 0, "end": 0}}, weighted(idft_weight)),
    ({"name": "idft"}, lambda z: 0.5 * ce(z) + 0.5 * weighted(idft_weight)(z)),
    ({"name": "asft", "lambda": 0.1}, lambda z: weighted(p_of)(z) + 0.1 * kl_to(z)),
    ({"name": "sft-kl", "lambda": 0.1}, lambda z: ce(z) + 0.1 * kl_to(z)),
    ({"name": "iw-sft"}, weighted(lambda z: sequence_mean(target(z) - ref_logp).exp().clamp(0, 16))),
    ({"name": "iw-sft", "mode": "token"}, weighted(lambda z: (target(z) - ref_logp).exp().clamp(0.2, 1.8))),
    ({"name": "psft"}, lambda z: clipped(z, torch.ones(T), 0.2, 0.2)),
    ({"name": "ppo"}, lambda z: clipped(z, advantage, 0.2, 0.2)),
    ({"name": "grpo", "beta": 0.04, "epsilon_high": 0.28}, lambda z: clipped(z, advantage, 0.2, 0.28) + 0.04 * k3(z)),
    ({"name": "dft", "weight_floor": 0.1, "weight_ceiling": 0.9}, weighted(lambda z: p_of(z).clamp(0.1, 0.9))),
    ({"name": "dft", "keep_special": True}, weighted(special_kept)),
]


def rounded(x):
    return [rounded(y) for y in x] if isinstance(x, list) else float(f"{x:.12g}")


def columns():
    z = logits
    return {
        "logp": target(z),
        "entropy": entropy_of(z),
        "topk_entropy": entropy_of(z.topk(20, -1).values),
        "ref_logp": ref_logp,
        "kl_ref": kl_to(z),
        "old_logp": old_logp,
        "advantage": advantage,
        "token_class": token_class.double(),
    }


def case(settings, loss):
    z = logits.clone().requires_grad_()
    values = loss(z)
    (gradient,) = torch.autograd.grad(values.sum(), z)
    return {"settings": settings, "loss": rounded(values.tolist()), "gradient": rounded(gradient.tolist())}


golden = {
    "torch": torch.__version__,
    "step": STEP,
    "steps": STEPS,
    "logits": rounded(logits.tolist()),
    "labels": labels.tolist(),
    "sequences": SEQUENCES,
    "columns": {name: rounded(values.tolist()) for name, values in columns().items()},
    "reference": rounded(reference.tolist()),
    "cases": [case(*one) for one in CASES],
}
pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(golden))
