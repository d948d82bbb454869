"""torch.compile where it pays: on a GPU, where operations one by one read and write the same memory again and again."""

import functools
import os
import shutil
from collections.abc import Callable
from importlib.util import find_spec

import torch


@functools.cache
def possible() -> bool:
    """Triton, which writes the kernels, builds its launchers with a C compiler when a run starts."""
    return find_spec("triton") is not None and any(map(shutil.which, (os.environ.get("CC") or "cc", "gcc", "clang")))


@functools.cache
def fused(function: Callable) -> Callable:
    """One kernel, or few, for a function of GPU tensors of any length; the function itself where nothing can be compiled."""
    return torch.compile(function, dynamic=True) if possible() else function


def fusion_in_words(device: torch.device) -> str:
    if device.type != "cuda":
        return "nothing is compiled on a CPU"
    return (
        "layers, head and AdamW are compiled"
        if possible()
        else "nothing is compiled, which is slower: it needs Triton and a C compiler (gcc)"
    )
