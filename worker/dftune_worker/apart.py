"""How the rows of a micro-batch are kept apart, and what a model computes of them before its head.

own     side by side, through attention of this package (attention.py): no mask, no padding
mask    side by side, with positions from 0 in each row: Transformers makes the mask that keeps them apart
padded  one below the other, filled up on the right to the longest
alone   one row a micro-batch
"""

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from . import attention
from .context import Part
from .errors import check
from .packing import MicroBatch
from .vision import MODEL_TYPES as VISION

OWN, MASK, PADDED, ALONE = "own", "mask", "padded", "alone"
OWN_FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
"""Whose attention needs nothing but causality and a window, so that kernels for packed rows are theirs."""
IN_WORDS = {
    OWN: "rows are packed, kept apart by attention over their lengths",
    MASK: "rows are packed, kept apart by Transformers' own mask",
    PADDED: "rows are padded to the longest of their micro-batch",
    ALONE: "every row is a micro-batch of its own",
}


def choices(model_type: str) -> tuple[str, ...]:
    """What to try, the best first. Rows with pictures are not packed: their positions go by their grids."""
    if model_type in VISION:
        return (PADDED, ALONE)
    return (OWN, MASK, PADDED, ALONE) if model_type in OWN_FAMILIES else (MASK, PADDED, ALONE)


def inputs_of(batch: MicroBatch | Part, kept_apart: str) -> tuple[dict, torch.Tensor | None]:
    """What the model is called with, and which of its positions [R, L] are tokens (None: all of [1, T])."""
    if isinstance(batch, Part):
        batch.packing.is_now()
        handed = {"packing": batch.packing} if kept_apart == OWN else {}
        return {"input_ids": batch.token_ids, "position_ids": batch.position_ids, **handed}, None
    if kept_apart == OWN:
        packing = attention.Packing(batch.lengths, batch.row_starts)
        return {"input_ids": batch.token_ids, "position_ids": batch.position_ids, "packing": packing}, None
    if kept_apart == MASK and len(batch.lengths) > 1:
        return {"input_ids": batch.token_ids, "position_ids": batch.position_ids}, None
    rows = pad_sequence(batch.token_ids[0].split(batch.lengths), batch_first=True)  # [R, L]
    lengths = batch.row_starts.diff().to(rows.device)
    real = torch.arange(rows.shape[1], device=rows.device)[None] < lengths[:, None]
    ragged = min(batch.lengths) < max(batch.lengths)
    return {"input_ids": rows, **({"attention_mask": real.long()} if ragged else {})}, real if ragged else None


def refuse_sharing(model_type: str, config) -> None:
    """Raises InputError for models whose tokens need more of their rows than keys and values. What this does not know, two
    rows find out (self_check.py)."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    rotary = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    rotary = rotary.get("rope_type", rotary.get("type"))
    reasons = {
        "its rows have pictures": model_type in VISION,
        f'"layer_types" has {", ".join(sorted(kinds))}': model_type not in OWN_FAMILIES and kinds != {"full_attention"},
        f'"sliding_window": {window}': model_type not in OWN_FAMILIES and window is not None,
        f'"rope_type": "{rotary}" turns a token by the length of what is computed with it': rotary
        in ("dynamic", "longrope"),
    }
    found = [reason for reason, is_so in reasons.items() if is_so]
    check(
        not found,
        f"engine.context_parallel: rows of this {model_type} model cannot be shared by several processes ({'; '.join(found)}); leave it out",
    )


class HeadInput:
    """Takes what comes to a model's head, in the place of the product with its weight."""

    def __init__(self, head: nn.Module):
        self.whole = False
        """The head's product is made, and the model's logits are what counts."""
        self._product, self._taken = head.forward, None
        head.forward = self._take

    def _take(self, hidden: torch.Tensor, *more, **named) -> torch.Tensor:
        if self.whole:
            return self._product(hidden, *more, **named)
        self._taken = hidden
        return hidden.new_zeros((*hidden.shape[:-1], 0))

    def of(self, model: nn.Module, inputs: dict):
        """[R, L, C] (or logits [R, L, V]), and the model's output."""
        self._taken = None
        out = model(use_cache=False, **inputs)
        taken, self._taken = out.logits if self.whole else self._taken, None
        if taken is None:
            raise RuntimeError("the model's forward does not call its head")
        return taken, out
