"""Keys and values of sequences that grow a token at a time, and attention over them.

A view of the cache is passed down to every attention layer in the place of a `Packing`: `PromptView` while a lane's prompt is
computed, `TokenView` for one new token of every lane. Both lay tokens side by side in one row, as packed training does.
"""

from dataclasses import dataclass

import torch
from torch.nn.functional import scaled_dot_product_attention

from .attention import Packing, attend_packed

Tensor = torch.Tensor


class KeyValueCache:
    """Of `lanes` sequences of at most `capacity` tokens: [lanes, K, capacity, D] a layer."""

    def __init__(self, config, lanes: int, capacity: int, dtype: torch.dtype, device: torch.device):
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        shape = (lanes, config.num_key_value_heads, capacity, head_dim)

        # zeros: what lies behind a lane's end is masked, and 0 times an old NaN would still be NaN
        def make():
            return [torch.zeros(shape, dtype=dtype, device=device) for _ in range(config.num_hidden_layers)]

        self.keys, self.values = make(), make()
        self.lanes = torch.arange(lanes, device=device)

    def share(self, lane: int, lanes: list[int], tokens: int) -> None:
        """Gives the first tokens of a lane to others."""
        others = [other for other in lanes if other != lane]
        for held in (*self.keys, *self.values) if others else ():
            held[others, :, :tokens] = held[lane, :, :tokens]


@dataclass(frozen=True)
class PromptView:
    """A prompt of T tokens, kept in one lane."""

    cache: KeyValueCache
    lane: int
    packing: Packing  # one row

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
    ) -> Tensor:
        """query [1, H, T, D], key and value [1, K, T, D] to [1, T, H, D]."""
        tokens = key.shape[2]
        self.cache.keys[layer][self.lane, :, :tokens] = key[0]
        self.cache.values[layer][self.lane, :, :tokens] = value[0]
        return attend_packed(query, key, value, self.packing, scaling, window)


@dataclass(frozen=True)
class TokenView:
    """One token of every lane (B of them), each at its own place."""

    cache: KeyValueCache
    places: Tensor  # [B]
    end: int  # one more than the largest place

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float | None, window: int | None
    ) -> Tensor:
        """query [1, H, B, D], key and value [1, K, B, D] to [1, B, H, D]."""
        keys, values = self.cache.keys[layer], self.cache.values[layer]
        keys[self.cache.lanes, :, self.places] = key[0].transpose(0, 1)
        values[self.cache.lanes, :, self.places] = value[0].transpose(0, 1)
        at = torch.arange(self.end, device=query.device)
        seen = at <= self.places[:, None]  # [B, end]
        if window is not None:
            seen &= at > self.places[:, None] - window
        heads, lanes, head_dim = query.shape[1:]
        grouped = (
            query[0].transpose(0, 1).reshape(lanes, key.shape[1], -1, head_dim)
        )  # [B, K, H/K, D]: no repeated keys
        out = scaled_dot_product_attention(
            grouped, keys[:, :, : self.end], values[:, :, : self.end], attn_mask=seen[:, None, None], scale=scaling
        )
        return out.reshape(1, lanes, heads, head_dim)
