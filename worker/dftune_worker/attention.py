"""Attention over packed rows: a token sees the earlier tokens of its own row. No [T x T] mask is ever held."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import scaled_dot_product_attention

from .fusion import fused

NAME = "dftune_packed"
LEAST_HEAD_OF_FLEX = 16  # what Triton's products of blocks want
Tensor = torch.Tensor


@dataclass(
    eq=False
)  # not frozen: torch.compile looks into frozen ones, and would compile again for every number of rows
class Packing:
    """How T tokens divide into rows; passed down to every attention layer. Where there are more keys than queries, a row's
    queries are the last of its keys."""

    lengths: tuple[int, ...]
    row_starts: Tensor  # [R + 1] int32
    key_lengths: tuple[int, ...] | None = None
    key_starts: Tensor | None = None

    def __post_init__(self):
        if self.key_lengths is None:
            self.key_lengths, self.key_starts = self.lengths, self.row_starts


def register() -> None:
    """Makes the function known to Transformers, which then builds no mask of its own for it."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, packed_attention)


@torch.compiler.disable  # kernels choose by the rows' lengths, which change with every micro-batch
def packed_attention(
    module,
    query,
    key,
    value,
    attention_mask,
    *,
    packing,
    scaling: float | None = None,
    sliding_window: int | None = None,
    dropout: float = 0.0,
    **_,
):
    """query [1, H, T, D], key and value [1, K, T, D] to [1, T, H, D]. `packing` may be a view of a key-value cache, or
    of a part of the tokens (context.py), which attend in their own way."""
    if hasattr(packing, "attend"):
        return packing.attend(module.layer_idx, query, key, value, scaling, sliding_window), None
    return attend_packed(query, key, value, packing, scaling, sliding_window), None


def attend_packed(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, scaling: float | None, window: int | None
) -> Tensor:
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        kernel = _variable_length_kernel()
    else:
        is_plain = query.shape[-1] < LEAST_HEAD_OF_FLEX or (
            len(packing.lengths) == 1 and packing.lengths == packing.key_lengths
        )
        kernel = _row_by_row if not query.is_cuda or is_plain else _flex
    return kernel(query, key, value, packing, scaling, window)


def kernel_in_words(device: torch.device, dtype: torch.dtype) -> str:
    if device.type != "cuda":
        return "attention row by row (PyTorch's fused kernel)"
    if dtype == torch.float32:
        return "flex attention with a block mask"
    return {
        "_torch_varlen": "PyTorch's variable-length flash attention",
        "_flash_attn": "flash-attn's variable-length attention",
        "_flex": "flex attention with a block mask",
    }[_variable_length_kernel().__name__]


_chosen: Callable | None = None


def _variable_length_kernel() -> Callable:
    global _chosen
    if _chosen is None:
        _chosen = _flex
        try:
            from torch.nn.attention.varlen import varlen_attn  # noqa: F401

            _chosen = _torch_varlen
        except ImportError:
            try:
                import flash_attn  # noqa: F401

                _chosen = _flash_attn
            except ImportError:
                pass
    return _chosen


def _row_by_row(query, key, value, packing, scaling, window):
    groups = query.shape[1] // key.shape[1]
    _, heads, tokens, _ = query.shape
    out = None if torch.is_grad_enabled() else query.new_empty((1, tokens, heads, value.shape[-1]))
    parts, start, first_key = [], 0, 0
    for length, keys in zip(packing.lengths, packing.key_lengths, strict=True):
        row, seen = slice(start, start + length), slice(first_key, first_key + keys)
        q, k, v = query[:, :, row], key[:, :, seen], value[:, :, seen]
        if groups > 1:
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        is_plain = length == keys and (window is None or length <= window)
        mask = None if is_plain else _mask(length, keys, window, q.device)
        attended = scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, scale=scaling
        ).transpose(1, 2)
        if out is None:
            parts.append(attended)
        else:
            out[:, row] = attended
        start, first_key = start + length, first_key + keys
    return torch.cat(parts, 1) if out is None else out


def _mask(length: int, keys: int, window: int | None, device) -> Tensor:
    """[length, keys]: what the last `length` of a row's tokens see."""
    distance = torch.arange(keys - length, keys, device=device)[:, None] - torch.arange(keys, device=device)[None]
    return (distance >= 0) & (distance < (window or keys))


def _rows_first(*tensors: Tensor):
    return (t[0].transpose(0, 1) for t in tensors)  # [T, heads, D]


def _bounds(packing: Packing) -> tuple[Tensor, Tensor, int, int]:
    """As variable-length kernels are told of rows, whose last query is at their last key."""
    return packing.row_starts, packing.key_starts, max(packing.lengths), max(packing.key_lengths)


def _torch_varlen(query, key, value, packing, scaling, window):
    from torch.nn.attention.varlen import varlen_attn

    known = inspect.signature(varlen_attn).parameters  # which grew from release to release
    options = (
        {"enable_gqa": query.shape[1] != key.shape[1]} if "enable_gqa" in known else {}
    )  # before, the kernel was not asked
    if "scale" in known:
        options["scale"] = scaling
    elif scaling is not None:
        query = query * (scaling * query.shape[-1] ** 0.5)
    reach = -1 if window is None else window - 1
    if "window_size" in known:
        options["window_size"] = (reach, 0)
    elif window is None and "is_causal" in known:
        options["is_causal"] = True
    else:
        raise RuntimeError("this PyTorch's varlen_attn has no sliding window; install flash-attn or a newer PyTorch")
    q, k, v = (t.contiguous() for t in _rows_first(query, key, value))
    return varlen_attn(q, k, v, *_bounds(packing), **options)[None]


def _flash_attn(query, key, value, packing, scaling, window):
    from flash_attn import flash_attn_varlen_func

    q, k, v = (t.contiguous() for t in _rows_first(query, key, value))
    reach = -1 if window is None else window - 1
    options = {"softmax_scale": scaling, "causal": True, "window_size": (reach, 0)}
    return flash_attn_varlen_func(q, k, v, *_bounds(packing), **options)[None]


_masks: dict = {}
MASKS_KEPT = 2  # the pieces that a process has of a micro-batch


def _visible(packing: Packing, window: int | None, device: torch.device) -> Callable:
    """Which keys a query sees, by their places among all tokens."""

    def each(counts: tuple[int, ...], values: Tensor) -> Tensor:
        return torch.repeat_interleave(values, torch.tensor(counts, device=device))

    rows = torch.arange(len(packing.lengths), device=device)
    row, row_of_key = each(packing.lengths, rows), each(packing.key_lengths, rows)
    ends = packing.key_starts[1:] - packing.row_starts[1:]
    place = torch.arange(len(row), device=device) + each(packing.lengths, ends.long())  # of a query, among keys

    def visible(_b, _h, q, k):
        seen = (row[q] == row_of_key[k]) & (place[q] >= k)
        return seen if window is None else seen & (place[q] - k < window)

    return visible


def _flex(query, key, value, packing, scaling, window):
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    known = (id(packing), window)
    if known not in _masks:
        if len(_masks) >= MASKS_KEPT:
            _masks.clear()  # of micro-batches before
        counts = (query.shape[2], key.shape[2])
        mask = create_block_mask(_visible(packing, window, query.device), None, None, *counts, device=query.device)
        _masks[known] = (packing, mask)
    run = fused(flex_attention) if query.is_cuda else flex_attention
    grouped = query.shape[1] != key.shape[1]
    return run(query, key, value, block_mask=_masks[known][1], scale=scaling, enable_gqa=grouped).transpose(1, 2)
