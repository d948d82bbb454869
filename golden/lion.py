"""Lion in PyTorch, float64, as its paper's algorithm 2 says (arXiv 2302.06675): writes lion.json beside this file.

    python golden/lion.py
"""

import json
import pathlib

import torch

torch.manual_seed(0)
STEPS, BETAS, WEIGHT_DECAY, RATE = 12, (0.9, 0.99), 0.1, 3e-3


def lion(parameter: torch.Tensor, gradient: torch.Tensor, moment: torch.Tensor, rate: float, decay: float) -> None:
    change = (BETAS[0] * moment + (1 - BETAS[0]) * gradient).sign()
    parameter.sub_(rate * (change + decay * parameter))
    moment.mul_(BETAS[1]).add_(gradient, alpha=1 - BETAS[1])


parameters = {name: torch.randn(shape, dtype=torch.float64) for name, shape in {"matrix": (3, 4), "vector": (5,)}.items()}
moments = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
options = {"betas": BETAS, "weight_decay": WEIGHT_DECAY}
start = {name: parameter.tolist() for name, parameter in parameters.items()}
steps = []
for step in range(1, STEPS + 1):
    rate, scale = RATE * step / STEPS, 1 / step
    gradients = {name: torch.randn_like(p) * 10.0 ** (step % 4 - 3) for name, p in parameters.items()}
    # No change where a gradient is 0 throughout; of exactly representable values, so that float32 sees the same signs.
    gradients = {name: gradient.float().double() for name, gradient in gradients.items()}
    gradients["matrix"][0, 0] = 0.0
    for name, p in parameters.items():
        lion(p, gradients[name] * scale, moments[name], rate, WEIGHT_DECAY if p.ndim >= 2 else 0.0)
    steps.append(
        {
            "lr": rate,
            "scale": scale,
            "gradients": {name: gradient.tolist() for name, gradient in gradients.items()},
            "parameters": {name: p.tolist() for name, p in parameters.items()},
            "moments": {name: moment.tolist() for name, moment in moments.items()},
        }
    )
golden = {"torch": torch.__version__, "options": options, "start": start, "steps": steps}
pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(golden) + "\n")
