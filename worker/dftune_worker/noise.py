"""NEFTune (arXiv 2310.05914): what the first layer is given of a row of L tokens gets uniform noise within alpha / sqrt(L C)."""

import contextlib

import torch
from torch import nn

from .context import Part
from .packing import MicroBatch


class EmbeddingNoise:
    """Adds noise to what an embedding looks up, for as long as it is told of a micro-batch."""

    def __init__(self, embedding: nn.Module, alpha: float):
        self.alpha, self.batch = alpha, None
        embedding.register_forward_hook(self._add)

    def bounds(self, shape: torch.Size, device: torch.device) -> torch.Tensor:
        """Of a micro-batch's tokens side by side [1, T], or one row below the other [R, L], filled up."""
        if isinstance(self.batch, Part):
            return (self.alpha / (self.batch.row_lengths * shape[-1]).sqrt())[None]
        lengths = torch.tensor(self.batch.lengths, device=device)
        each = self.alpha / (lengths * shape[-1]).sqrt()
        packed = shape[0] == 1 and shape[1] == int(lengths.sum())
        return each.repeat_interleave(lengths)[None] if packed else each[:, None].expand(shape[:2])

    def _add(self, _module, _args, embedded: torch.Tensor) -> torch.Tensor:
        if self.batch is None:
            return embedded
        noise = torch.rand(embedded.shape, device=embedded.device) * 2 - 1
        return embedded + (noise * self.bounds(embedded.shape, embedded.device)[..., None]).to(embedded.dtype)


@contextlib.contextmanager
def noisy(noise: EmbeddingNoise | None, batch: MicroBatch | Part | None):
    """While rows are trained on; `step_randomness` seeds what is drawn."""
    if noise is not None:
        noise.batch = batch
    try:
        yield
    finally:
        if noise is not None:
            noise.batch = None
