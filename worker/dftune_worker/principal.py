"""PiSSA: an adapter begins as the largest singular values of what it adapts, and the base beside it is what is left of it.
Saved it is an update of the whole base again, of twice the rank."""

import math
from pathlib import Path

import torch
from torch import nn

from .errors import check
from .weights import adapter_tensors, checkpoint_name, local_rows

Begun = dict[str, torch.Tensor]
"""A and B as they began, whole, by their names in a checkpoint."""


def is_principal(config: dict) -> bool:
    return bool(config["adapter"]) and config["adapter"].get("init_lora_weights", True) == "pissa"


def begin_principal(model: nn.Module, weights, checkpoint: Path | None) -> Begun:
    """Gives A, B and the base beside them their values; of a run that goes on, as its checkpoint says that they began."""
    saved = adapter_tensors(checkpoint / "adapter_model.safetensors") if checkpoint else None
    begun: Begun = {}
    for path, layer in model.named_modules():
        if not (hasattr(layer, "lora_A") and "default" in layer.lora_A):
            continue
        turned = getattr(layer, "fan_in_fan_out", False)
        name = checkpoint_name(f"{path}.base_layer.weight")
        weight = weights.read(name, layer.base_layer.weight.shape, slice(None)).float()
        scale, rank = layer.scaling["default"], layer.r["default"]
        check(
            rank <= min(weight.shape),
            f"adapter: init_lora_weights: pissa: r is {rank}, and {name} {list(weight.shape)} has {min(weight.shape)} singular values; lower r, or give it one of its own in rank_pattern",
        )
        names = [checkpoint_name(f"{path}.lora_{factor}.default.weight") for factor in "AB"]
        if saved is None:
            a, b = _principal(weight.T if turned else weight, rank, scale)
        else:
            a, b = saved[names[0]][rank:], -saved[names[1]][:, rank:]
        begun |= dict(zip(names, (a, b), strict=True))
        update = scale * (b @ a)
        rest = weight - (update.T if turned else update)
        held = (
            (layer.lora_A["default"].weight, a),
            (layer.lora_B["default"].weight, b),
            (layer.base_layer.weight, rest),
        )
        with torch.no_grad():
            for parameter, whole in held:
                part, rows = local_rows(parameter)
                part.copy_(whole[rows])
    return begun


def _principal(weight: torch.Tensor, rank: int, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Of [out, in]: A = diag(S / s)^1/2 V^T, B = U diag(S / s)^1/2, as PEFT has it."""
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    share = (values[:rank] / scale).sqrt()
    return (share[:, None] * right[:rank]).contiguous(), (left[:, :rank] * share).contiguous()


def as_saved(name: str, value: torch.Tensor, begun: Begun) -> torch.Tensor:
    """A above the A that it began with; B beside minus the B that it began with."""
    first = begun.get(name)
    if first is None:
        return value
    return torch.cat([value, first]) if ".lora_A." in name else torch.cat([value, -first], dim=1)


def saved_config(config: dict) -> dict:
    """What PEFT's config says of the saved adapter: the scale stays, and the start is no longer of importance."""
    more = math.sqrt(2) if config.get("use_rslora") else 2
    scaled = {
        "r": 2 * config["r"],
        "lora_alpha": more * config["lora_alpha"],
        "rank_pattern": {k: 2 * v for k, v in (config.get("rank_pattern") or {}).items()},
        "alpha_pattern": {k: more * v for k, v in (config.get("alpha_pattern") or {}).items()},
    }
    return config | scaled
