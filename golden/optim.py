"""torch.optim.AdamW in float64, and torch's gradient clipping: writes optim.json beside this file.

    python golden/optim.py
"""

import json
import pathlib

import torch

torch.manual_seed(0)
STEPS = 12
options = {"lr": 3e-3, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1}
matrix = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
vector = torch.randn(5, dtype=torch.float64, requires_grad=True)
golden = {
    "torch": torch.__version__,
    "options": options,
    "max_norm": 1.0,
    "start": {"matrix": matrix.tolist(), "vector": vector.tolist()},
    "steps": [],
}
decayed = {"params": [matrix], "weight_decay": options["weight_decay"]}
kept = {"params": [vector], "weight_decay": 0.0}
optimizer = torch.optim.AdamW([decayed, kept], lr=options["lr"], betas=options["betas"], eps=options["eps"])
for step in range(1, STEPS + 1):
    for group in optimizer.param_groups:
        group["lr"] = options["lr"] * step / STEPS
    # Gradients of very different sizes, one of them 0 throughout, and some steps above the clipping norm.
    size = 10.0 ** (step % 4 - 3)
    for parameter in (matrix, vector):
        parameter.grad = torch.randn_like(parameter) * size
    matrix.grad[0, 0] = 0.0
    gradients = {"matrix": matrix.grad.tolist(), "vector": vector.grad.tolist()}
    norm = torch.nn.utils.clip_grad_norm_([matrix, vector], golden["max_norm"]).item()
    optimizer.step()
    golden["steps"].append(
        {
            "lr": options["lr"] * step / STEPS,
            "gradients": gradients,
            "norm": norm,
            "matrix": matrix.tolist(),
            "vector": vector.tolist(),
        }
    )
pathlib.Path(__file__).with_suffix(".json").write_text(json.dumps(golden))
