"""Rates and decays of some tensors' own, and tensors that do not train: `param_groups`, `freeze`, LoRA+."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from torch import nn

from .errors import check
from .weights import MAGNITUDE, checkpoint_name


@dataclass(frozen=True)
class Group:
    rate: float = 1.0
    """Multiple of the run's learning rate."""
    weight_decay: float | None = None
    """In place of the run's."""


def names_tensor(pattern: str, name: str, where: str) -> bool:
    """Whether a regular expression matches a run of whole parts of a tensor's name."""
    try:
        return re.fullmatch(rf"(?:.*\.)?(?:{pattern})(?:\..*)?", name) is not None
    except re.error:
        check(False, f'{where}: "{pattern}" is no regular expression')


def group_of(parameter: str, config: dict) -> Group:
    name, ratio, base = checkpoint_name(parameter), 1.0, config["learning_rate"]
    if name.endswith((".lora_B.weight", MAGNITUDE)):
        ratio = (config["adapter"] or {}).get("loraplus_lr_ratio") or 1.0
    for group in config.get("param_groups") or []:
        if names_tensor(group["params"], name, "param_groups"):
            own, decay = group.get("learning_rate"), group.get("weight_decay")
            return Group((base if own is None else own) / base * ratio, decay)
    return Group(ratio)


def check_groups(parameters: Iterable[str], config: dict) -> None:
    names = [checkpoint_name(name) for name in parameters]
    for i, group in enumerate(config.get("param_groups") or []):
        check(
            any(names_tensor(group["params"], name, f"param_groups[{i}]") for name in names),
            f'param_groups[{i}]: params: "{group["params"]}" matches no tensor that trains; names are such as {", ".join(names[:3])}',
        )


def freeze_tensors(model: nn.Module, patterns: list[str]) -> None:
    """Before anything is placed. Tensors that are one are frozen under any of their names."""
    named = [(checkpoint_name(name), p) for name, p in model.named_parameters(remove_duplicate=False)]
    for i, pattern in enumerate(patterns):
        found = [p for name, p in named if names_tensor(pattern, name, f"freeze[{i}]")]
        shown = ", ".join(name for name, _ in named[:3])
        check(bool(found), f'freeze[{i}]: "{pattern}" matches no tensor of the model; names are such as {shown}')
        for p in found:
            p.requires_grad_(False)
    check(any(p.requires_grad for _, p in named), "freeze: leaves no tensor to train")
