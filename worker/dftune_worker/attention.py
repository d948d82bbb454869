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
    """How T tokens divide into rows; passed down to every attention layer."""

    lengths: tuple[int, ...]
    row_starts: Tensor  # [R + 1] int32


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
    """query [1, H, T, D], key and value [1, K, T, D] to [1, T, H, D]. `packing` may be a view of a key-value cache."""
    if not isinstance(packing, Packing):
        return packing.attend(module.layer_idx, query, key, value, scaling, sliding_window), None
    return attend_packed(query, key, value, packing, scaling, sliding_window), None


def attend_packed(
    query: Tensor, key: Tensor, value: Tensor, packing: Packing, scaling: float | None, window: int | None
) -> Tensor:
    if query.is_cuda and query.dtype in (torch.bfloat16, torch.float16):
        kernel = _variable_length_kernel()
    else:
        narrow = query.shape[-1] < LEAST_HEAD_OF_FLEX
        kernel = _row_by_row if not query.is_cuda or narrow or len(packing.lengths) == 1 else _flex
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
    out = torch.empty_like(query.transpose(1, 2)) if not torch.is_grad_enabled() else None
    parts, start = [], 0
    for length in packing.lengths:
        row = slice(start, start + length)
        q, k, v = query[:, :, row], key[:, :, row], value[:, :, row]
        if groups > 1:
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        windowed = window is not None and length > window
        mask = _window_mask(length, window, q.device) if windowed else None
        attended = scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None, scale=scaling
        ).transpose(1, 2)
        if out is None:
            parts.append(attended)
        else:
            out[:, row] = attended
        start += length
    return torch.cat(parts, 1) if out is None else out


def _window_mask(length: int, window: int, device) -> Tensor:
    distance = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)[None]
    return (distance >= 0) & (distance < window)


def _rows_first(*tensors: Tensor):
    return (t[0].transpose(0, 1) for t in tensors)  # [T, heads, D]


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
    longest, starts = max(packing.lengths), packing.row_starts
    return varlen_attn(q, k, v, starts, starts, longest, longest, **options)[None]


def _flash_attn(query, key, value, packing, scaling, window):
    from flash_attn import flash_attn_varlen_func

    q, k, v = (t.contiguous() for t in _rows_first(query, key, value))
    longest, starts = max(packing.lengths), packing.row_starts
    reach = -1 if window is None else window - 1
    return flash_attn_varlen_func(
        q, k, v, starts, starts, longest, longest, softmax_scale=scaling, causal=True, window_size=(reach, 0)
    )[None]


_masks: dict = {}


def _flex(query, key, value, packing, scaling, window):
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    tokens, device = query.shape[2], query.device
    known = (id(packing), window)
    if known not in _masks:
        _masks.clear()  # of the micro-batch before
        row = torch.repeat_interleave(
            torch.arange(len(packing.lengths), device=device), torch.tensor(packing.lengths, device=device)
        )

        def visible(_b, _h, q, k):
            seen = (row[q] == row[k]) & (q >= k)
            return seen if window is None else seen & (q - k < window)

        _masks[known] = (packing, create_block_mask(visible, None, None, tokens, tokens, device=device))
    run = fused(flex_attention) if query.is_cuda else flex_attention
    grouped = query.shape[1] != key.shape[1]
    return run(query, key, value, block_mask=_masks[known][1], scale=scaling, enable_gqa=grouped).transpose(1, 2)
