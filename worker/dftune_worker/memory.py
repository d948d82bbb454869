"""What a process holds, and what it gives back."""

import ctypes
import os
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


def free_bytes(world: World) -> int | None:
    """What this rank may still take: of its GPU, or its share of the machine's; None where the system does not tell."""
    if world.device.type == "cuda":
        return torch.cuda.mem_get_info(world.device)[0]
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // world.size
    except (ValueError, OSError):
        return None


def return_free_memory(world: World) -> None:
    """Where the C library keeps what gradients took for the next small tensors, the next head's logits would come on top."""
    if world.device.type == "cpu" and sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
        if trim is not None:
            trim(0)
