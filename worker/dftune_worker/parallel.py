"""Processes, devices and sharding. One process shards nothing; several shard everything with FSDP2."""

import ctypes
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import nn

from .context import Context
from .errors import check

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class World:
    rank: int
    size: int
    device: torch.device
    group: dist.ProcessGroup | None = None
    """Of these processes; None: all there are."""
    context: Context | None = None
    """The processes that share this one's rows."""
    of_rows: "World | None" = None
    """One process of each such group, among which rows are divided; None: all."""

    @property
    def by_rows(self) -> "World":
        return self.of_rows or self

    @property
    def first(self) -> bool:
        return self.rank == 0

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Sum over ranks, in place."""
        if self.size > 1:
            dist.all_reduce(values, group=self.group)
        return values

    def largest(self, value: float) -> float:
        if self.size == 1:
            return value
        values = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.all_reduce(values, op=dist.ReduceOp.MAX, group=self.group)
        return values.item()

    def gather(self, values: torch.Tensor) -> torch.Tensor:
        """[n] of every rank, one after the other; n may differ."""
        if self.size == 1:
            return values
        parts = self.gather_objects(values.cpu())
        return torch.cat(parts).to(values.device)

    def gather_objects(self, value) -> list:
        if self.size == 1:
            return [value]
        parts = [None] * self.size
        dist.all_gather_object(parts, value, group=self.group)
        return parts

    def from_first(self, made: Callable[[], object]):
        """What rank 0 makes, on every rank."""
        value = [made() if self.first else None]
        if self.size > 1:
            dist.broadcast_object_list(value, src=0, device=torch.device("cpu"))
        return value[0]

    def barrier(self) -> None:
        if self.size > 1:
            dist.barrier()


def die_with_parent() -> None:
    """A worker whose launcher is gone has nobody to report to: the kernel ends it (Linux)."""
    if not os.environ.get("DFTUNE_LAUNCHED") and not os.environ.get("TORCHELASTIC_RUN_ID"):
        return
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    except (OSError, AttributeError):
        return  # not Linux: the launcher's own group kill is all there is
    if os.getppid() == 1:
        os._exit(1)


def join_world() -> World:
    """This process's place, from torchrun's environment; alone without it."""
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        check(local_rank < count, f"engine.nproc_per_node: process {local_rank} has no GPU, this machine has {count}")
        device = torch.device("cuda", local_rank)
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
    if size > 1:
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timedelta(minutes=30))
    return World(rank, size, device)


def sharing_rows(world: World, count: int) -> World:
    """The same processes, `count` neighbours of which share every row. Raises InputError where they do not come out even."""
    if count == 1:
        return world
    check(
        world.size % count == 0,
        f"engine.context_parallel: {count} processes are to share every row, but there are {world.size} (nnodes x nproc_per_node); give a number that divides it",
    )
    groups = world.size // count
    contexts = [dist.new_group(list(range(first * count, (first + 1) * count))) for first in range(groups)]
    others = [dist.new_group(list(range(rank, world.size, count))) for rank in range(count)]
    group, rank = divmod(world.rank, count)
    of_rows = World(group, groups, world.device, others[rank])
    return replace(world, context=Context(rank, count, contexts[group]), of_rows=of_rows)


def leave_world(world: World) -> None:
    """Nobody goes before everybody is done; NCCL also wants to be told."""
    world.barrier()
    if world.size > 1 and world.device.type == "cuda":
        dist.destroy_process_group()


def place(model: nn.Module, world: World, dtype: torch.dtype) -> None:
    """Parameters from the meta device onto this one, empty: whole where one process runs, sharded where several do."""
    if world.size > 1:
        _shard(model, world, dtype)
    for module in model.modules():
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = buffer.to(world.device)
    _materialise(model, world.device)


def _shard(model: nn.Module, world: World, dtype: torch.dtype) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method

    mesh = init_device_mesh(world.device.type, (world.size,))
    policy = MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
    for layer in model.layers if _share_nothing(model.layers) else ():
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)
    for method in ("next_logits", "last_logits", "own_logits", "all_logits"):
        register_fsdp_forward_method(model, method)


def reshard(model: nn.Module) -> None:
    """After a forward pass without a backward one, which leaves the outermost weights gathered."""
    from torch.distributed.fsdp import FSDPModule

    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def _share_nothing(layers: nn.ModuleList) -> bool:
    """Weights that several layers use are gathered around the whole model."""
    each = sum(len(list(layer.parameters())) for layer in layers)
    return each == len(list(layers.parameters()))


def _materialise(model: nn.Module, device: torch.device) -> None:
    """`to_empty` without touching buffers, which hold values already. Tied parameters stay tied."""
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is None or not parameter.is_meta:
                continue
            if id(parameter) not in made:
                made[id(parameter)] = nn.Parameter(
                    torch.empty_like(parameter, device=device), requires_grad=parameter.requires_grad
                )
            module._parameters[name] = made[id(parameter)]
    model._apply(lambda tensor: tensor)  # FSDP looks its parameters up again


def precision_in_words(dtype: torch.dtype, split: bool, adapter: bool) -> str:
    """What a run keeps in which precision. Split: one process, masters beside bfloat16 weights (optimizer.py)."""
    if dtype == torch.float32:
        return "weights, gradients, moments and computation in float32"
    of = "the adapter's" if adapter else "the"
    frozen = (
        f"the frozen base {'bfloat16' if split else 'float32 in shards, gathered as bfloat16'}; " if adapter else ""
    )
    if split:
        kept = f"{of} float32 master weights as bfloat16 plus 16 bits, float32 moments; gradients bfloat16, summed over micro-batches in float32"
    else:
        kept = f"{of} float32 master weights, gradients and moments in shards; gradients reduced in float32"
    return f"computes in bfloat16; {frozen}{kept}; logits and log-sum-exp float32"
