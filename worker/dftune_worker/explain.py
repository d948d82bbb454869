"""What ended a rank, in words."""

import re

import torch

from .errors import InputError, TrainingStopped
from .spec import RunSpec


def explain(error: BaseException, spec: RunSpec | None) -> tuple[str, str]:
    """(kind, message) of what ended a rank, for its error file: input, stopped, memory, peer (another rank is gone) or bug."""
    if isinstance(error, InputError):
        return "input", str(error)
    if isinstance(error, TrainingStopped):
        return "stopped", str(error)
    text = str(error)
    if (
        isinstance(error, (torch.OutOfMemoryError, MemoryError))
        or "DefaultCPUAllocator" in text
        or "not enough memory" in text
    ):
        tokens = spec.config["micro_batch_tokens"] if spec else "?"
        advice = f"micro_batch_tokens (now {tokens}) lowers it, then recompute: always, then more processes (engine.nproc_per_node) or an adapter"
        return "memory", f"out of memory: {text.splitlines()[0] if text else 'no more could be allocated'}\n{advice}"
    if re.search(r"Connection (closed|reset)|ncclRemoteError|Broken pipe", text):
        return "peer", text.splitlines()[0]
    return "bug", f"{type(error).__name__}: {text}"
