"""What a process holds, and what it gives back."""

import ctypes
import resource
import sys

import torch

from .parallel import World


def memory_bytes(world: World) -> int:
    """Peak so far: of the GPU's allocator, or resident on a CPU."""
    if world.device.type == "cuda":
        return torch.cuda.max_memory_allocated(world.device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def return_free_memory(world: World) -> None:
    """Where the C library keeps what gradients took for the next small tensors, the next head's logits would come on top."""
    if world.device.type == "cpu" and sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
        if trim is not None:
            trim(0)
