"""12 steps of Adafactor (Transformers', as its Trainer sets it) and of Muon (torch.optim's, match_rms_adamw) in float64: writes
whole_optimizers.json beside this file. Muon's products are kept from being rounded to bfloat16.

    python golden/whole_optimizers.py
"""

import json
import pathlib
from unittest import mock

import torch
import transformers
from transformers.optimization import Adafactor

torch.manual_seed(0)
STEPS, WEIGHT_DECAY, RATE, MOMENTUM = 12, 0.1, 3e-3, 0.95
SHAPES = {"wide": (6, 10), "tall": (9, 4), "vector": (5,)}


def run(name, optimizer_of, shapes):
    parameters = {key: torch.nn.Parameter(torch.randn(shape, dtype=torch.float64)) for key, shape in shapes.items()}
    start = {key: p.tolist() for key, p in parameters.items()}
    optimizers = {key: optimizer_of(p, WEIGHT_DECAY if p.ndim >= 2 else 0.0) for key, p in parameters.items()}
    steps = []
    for step in range(1, STEPS + 1):
        rate, scale = RATE * step / STEPS, 1 / step
        gradients = {key: torch.randn_like(p) * 10.0 ** (step % 4 - 3) for key, p in parameters.items()}
        for key, p in parameters.items():
            p.grad = gradients[key] * scale
            optimizers[key].param_groups[0]["lr"] = rate
            optimizers[key].step()
        steps.append({"lr": rate, "scale": scale, "gradients": {k: g.tolist() for k, g in gradients.items()}, "parameters": {k: p.tolist() for k, p in parameters.items()}})
    return {"start": start, "steps": steps}


def adafactor(p, decay):
    return Adafactor([p], lr=RATE, weight_decay=decay, scale_parameter=False, relative_step=False)


def muon(p, decay):
    return torch.optim.Muon([p], lr=RATE, weight_decay=decay, momentum=MOMENTUM, nesterov=True, adjust_lr_fn="match_rms_adamw")


with mock.patch.object(torch.Tensor, "bfloat16", lambda self: self.clone()):
    golden = {
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "weight_decay": WEIGHT_DECAY,
        "momentum": MOMENTUM,
        "adafactor": run("adafactor", adafactor, SHAPES),
        "muon": run("muon", muon, {k: s for k, s in SHAPES.items() if len(s) == 2}),
    }
pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(golden) + "\n")
