"""Context parallelism: N processes share the tokens of every micro-batch, so that a row may be N times as long.

T tokens, filled up to a multiple of 2N, are cut into 2N pieces. Process r of a group holds the pieces r and 2N - 1 - r, so
that all have as many earlier tokens to look at. Everything but attention is of one token alone; for attention each process
gathers the keys and values of all, and their gradients are summed over the group (Llama 3, arXiv 2407.21783, section 3.3.2).
"""

import itertools
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
from torch.nn.functional import pad

from .attention import Packing, attend_packed
from .errors import check
from .head import HeadRequest
from .packing import MicroBatch

Tensor = torch.Tensor
KNOWN_TO_OTHERS = ("softcap", "s_aux", "position_bias", "head_mask")
"""What some families ask of attention beside a scale and a window."""

_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor  # the name before PyTorch 2.13
_reduce_scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor


@dataclass(frozen=True)
class Context:
    """This process's place in the group that shares its rows."""

    rank: int
    size: int
    group: dist.ProcessGroup

    def part_of(self, batch: MicroBatch) -> "Part":
        return Part(self, batch)

    def gather(self, own: Tensor) -> Tensor:
        """[N, ...] of every process's [...], which has the same shape everywhere. No gradient."""
        everyone = own.new_empty((self.size * own.shape[0], *own.shape[1:]))
        _gather(everyone, own.contiguous(), group=self.group)
        return everyone.unflatten(0, (self.size, own.shape[0]))

    def in_order(self, own: Tensor, dim: int) -> Tensor:
        """Both pieces of every process, one after the other along `dim`, in the order of the tokens. With a gradient."""
        return _InOrder.apply(own.movedim(dim, 0), self).movedim(0, dim)

    def sum(self, own: Tensor) -> Tensor:
        """Over the group; each process's gradient is that of its own part."""
        return _Sum.apply(own, self)


NAME = "dftune_shared"
_now: list["SharedPacking"] = []
"""Of the micro-batch that is being computed, for models that hand nothing down to their attention: none or one."""


def register() -> None:
    """Makes the function known to Transformers, which then builds no mask for it."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, shared_attention)


def shared_attention(
    module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    dropout: float = 0.0,
    **more,
):
    """As Transformers' own functions, over this process's part of the tokens."""
    asked = [name for name in KNOWN_TO_OTHERS if more.get(name) is not None]
    is_plain = attention_mask is None and getattr(module, "is_causal", True) and not asked
    check(
        is_plain,
        f"engine.context_parallel: {type(module).__name__} attends with {' and '.join(asked) or 'a mask of its own'}, which processes that share rows do not; leave it out",
    )
    return _now[0].attend(0, query, key, value, scaling, sliding_window), None


class SharedPacking(Packing):
    """How the tokens of a group's micro-batch divide into rows, and which of them are this process's."""

    def __init__(self, context: Context, lengths: tuple[int, ...], device: torch.device):
        super().__init__(lengths, torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32, device=device))
        self._context = context
        size = sum(lengths) // (2 * context.size)
        starts = [size * piece for piece in (context.rank, 2 * context.size - 1 - context.rank)]
        self._pieces = [_piece(lengths, start, start + size, device) for start in starts]

    def is_now(self) -> None:
        """Of what is computed next, and its backward."""
        _now[:] = [self]

    def attend(
        self, _layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
    ) -> Tensor:
        """query [1, H, t, D], key and value [1, K, t, D] of this process's t tokens to [1, t, H, D]."""
        both = self._context.in_order(torch.cat([key, value], -1), 2)  # one message in place of two
        keys, values = both.split([key.shape[-1], value.shape[-1]], -1)
        found, start = [], 0
        for packing, seen in self._pieces:
            queries = query[:, :, start : start + sum(packing.lengths)]
            found.append(attend_packed(queries, keys[:, :, seen], values[:, :, seen], packing, scaling, window))
            start += queries.shape[2]
        return torch.cat(found, 1)


def _piece(lengths: tuple[int, ...], start: int, end: int, device: torch.device) -> tuple[Packing, slice]:
    """The queries from `start` to `end`, and the keys that they look at: their rows' from the first of them on."""
    bounds = itertools.pairwise([0, *itertools.accumulate(lengths)])
    rows = [(low, min(high, end)) for low, high in bounds if low < end and high > start]
    queries = [high - max(low, start) for low, high in rows]
    keys = [high - low for low, high in rows]

    def starts(counts: list[int]) -> Tensor:
        return torch.tensor([0, *itertools.accumulate(counts)], dtype=torch.int32, device=device)

    return Packing(tuple(queries), starts(queries), tuple(keys), starts(keys)), slice(rows[0][0], end)


class Part:
    """This process's t tokens of a micro-batch of T, and its s of the S supervised ones."""

    def __init__(self, context: Context, batch: MicroBatch):
        self._context = context
        tokens, pieces, device = batch.token_ids.shape[1], 2 * context.size, batch.token_ids.device
        size = -(-tokens // pieces)
        filled = size * pieces - tokens
        lengths = (*batch.lengths, filled) if filled else batch.lengths
        at = torch.cat(
            [torch.arange(size, device=device) + size * piece for piece in (context.rank, pieces - 1 - context.rank)]
        )
        self.token_ids = pad(batch.token_ids, (0, filled))[:, at]  # [1, t]
        positions = torch.cat([batch.position_ids, torch.arange(filled, device=device)[None]], 1)
        self.position_ids = positions[:, at]  # [1, t], from 0 in every row
        self.packing = SharedPacking(context, lengths, device)
        each = torch.tensor(lengths, device=device)
        self.row_lengths = each.repeat_interleave(each)[at]  # [t] of each token's row
        self.sources, self.pictures = batch.sources, batch.pictures
        self.real = (at < tokens)[None] if filled else None  # [1, t]
        piece = batch.predicting // size
        holder = torch.minimum(piece, pieces - 1 - piece)
        self._places = [torch.nonzero(holder == rank)[:, 0] for rank in range(context.size)]
        self._own = self._places[context.rank]  # [s]
        mine = batch.predicting[self._own]
        self.predicting = mine % size + torch.where(mine // size >= context.size, size, 0)  # [s]
        self._tokens, self._supervised = tokens, len(batch.predicting)

    def own(self, request: HeadRequest) -> HeadRequest:
        """Of this process's supervised tokens."""
        own, objective = self._own, request.objective

        def given(values: Tensor) -> Tensor:
            return values[own] if values.ndim else values

        return replace(
            request,
            targets=request.targets[own],
            columns_given={name: given(values) for name, values in request.columns_given.items()},
            objective=None if objective is None else lambda columns, part: objective(columns, own[part]),
            scale=None if request.scale is None else request.scale[own],
            columns={},
        )

    def whole(self, columns: dict[str, Tensor]) -> dict[str, Tensor]:
        """[S] of every column, from each process's [s]."""
        most = max(len(places) for places in self._places)
        own = torch.stack([pad(values, (0, most - len(values))) for values in columns.values()])
        everyone, found = self._context.gather(own), own.new_empty((len(columns), self._supervised))
        for places, theirs in zip(self._places, everyone, strict=True):
            found[:, places] = theirs[:, : len(places)]
        return dict(zip(columns, found, strict=True))

    def all_states(self, own: Tensor) -> Tensor:
        """[T, C] from each process's [t, C]."""
        return self._context.in_order(own, 0)[: self._tokens]


class _InOrder(torch.autograd.Function):
    """[t, ...] of each process to [N t, ...]: piece r comes from process r, and piece 2N - 1 - r too."""

    @staticmethod
    def forward(ctx, own: Tensor, context: Context) -> Tensor:
        ctx.context = context
        everyone = context.gather(own)  # [N, t, ...]
        first, second = everyone.chunk(2, 1)
        return torch.cat([first, second.flip(0)]).flatten(0, 1)

    @staticmethod
    def backward(ctx, dy: Tensor):
        context = ctx.context
        pieces = dy.unflatten(0, (2 * context.size, -1)).float()  # [2N, t / 2, ...]; summed in float32
        mine = (context.rank, 2 * context.size - 1 - context.rank)
        if dist.get_backend(context.group) == "gloo":  # which has no reduce-scatter in older releases of PyTorch
            dist.all_reduce(pieces := pieces.contiguous(), group=context.group)
            return torch.cat([pieces[piece] for piece in mine]).to(dy.dtype), None
        first, second = pieces.chunk(2)
        parts = torch.cat([first, second.flip(0)], 1).contiguous()  # [N, t, ...]
        own = torch.empty_like(parts[0])
        _reduce_scatter(own, parts.flatten(0, 1), group=context.group)
        return own.to(dy.dtype), None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx, own: Tensor, context: Context) -> Tensor:
        total = own.clone()
        dist.all_reduce(total, group=context.group)
        return total

    @staticmethod
    def backward(ctx, dy: Tensor):
        return dy, None
