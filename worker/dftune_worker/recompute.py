"""Which layers keep what their backward needs, and which keep only their input and compute again."""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class RecomputePlan:
    def __init__(self):
        self.first_kept = 0
        """Layers from this one on keep. The last ones: backward frees them first, before the other layers' gradients exist."""

    def wrap(self, forward, index: int):
        def either(*args, **kwargs):
            if not torch.is_grad_enabled() or index >= self.first_kept:
                return forward(*args, **kwargs)
            return checkpoint(forward, *args, use_reentrant=False, **kwargs)

        return either


def can_recompute(layer: nn.Module) -> bool:
    """Transformers marks the layers that give the same when they are called again."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return isinstance(layer, GradientCheckpointingLayer)


def kept_layers(mode: str, layers: int, tokens: int, bytes_per_token: int, budget: int) -> int:
    """How many layers keep their activations for a micro-batch of `tokens`; auto keeps what `budget` bytes hold."""
    if mode != "auto":
        return layers if mode == "never" else 0
    return max(0, min(layers, budget // max(1, tokens * bytes_per_token)))


def activation_bytes_per_token(config, element_bytes: int) -> int:
    """Of one layer, roughly: what autograd keeps of norms (float32), projections, attention and the gated MLP."""
    width = config.hidden_size
    count = getattr(config, "num_attention_heads", None) or 1
    head_dim = getattr(config, "head_dim", None) or width // count
    inner = getattr(config, "intermediate_size", None) or 4 * width
    inner = max(inner) if isinstance(inner, (list, tuple)) else inner
    kept = 4 * width + 5 * count * head_dim + 4 * inner
    return kept * element_bytes + 4 * 4 * width
