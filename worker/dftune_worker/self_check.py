"""Two rows through a model before it trains: packed as they will be, and one by one through Transformers' own forward.

The first way to keep rows apart that gives the same log-probabilities is taken; so is the first form of the head.
"""

from dataclasses import dataclass

import torch

from . import apart
from .errors import InputError
from .head import PLAIN, HeadForm
from .model import PackedModel
from .packing import packed
from .shards import Row

Tensor = torch.Tensor
MOST_TOKENS = 256
TOLERANCE = {torch.float32: 2e-4, torch.bfloat16: 0.1}  # mean difference of log-probabilities, nats


@dataclass(frozen=True)
class Finding:
    """What is told of a model that cannot be trained in the quickest way."""

    code: str
    message: str
    hint: str


@torch.no_grad()
def settle(model: PackedModel, rows: list[Row], dtype: torch.dtype, device: torch.device) -> list[Finding]:
    """Chooses `model.kept_apart` and `model.head_form`, for all ranks alike: they see the same rows.

    Raises InputError where nothing gives what the model itself says of a row.
    """
    model.eval()
    tolerance, vocabulary = TOLERANCE[dtype], model.config.vocab_size
    rows = [_cut(row) for row in rows]
    single = [packed([row], [0], vocabulary).to(device) for row in rows]
    both = packed(rows, [0, 1], vocabulary).to(device)
    if model.kept_apart == apart.OWN:
        with model.not_sharing():
            said = [model.all_logits(b) for b in single]
        _hold(model, both, said, tolerance)
        model.train()
        return []
    said = [model.own_logits(batch).logits.float() for batch in single]
    findings = []
    with model.not_sharing():
        settled = _settle_head(model, single[0], said[0][0], tolerance)
    if not settled:
        model.give_whole_logits(True)
        findings.append(
            Finding(
                "whole-logits",
                f"{model.model_type}: its head is more than a product, so all logits of a micro-batch exist at once",
                "lower micro_batch_tokens if memory is short",
            )
        )
    if model.context is not None:
        _hold_shared(model, both, torch.cat(said, 1)[0], tolerance)
        model.train()
        return findings
    found = _way(model, single, both, torch.cat(said, 1)[0], tolerance)
    if found is None:
        raise InputError(
            f"{model.model_type}: no way to compute rows gives what Transformers' own model says of them; engine: torch cannot train it"
        )
    if found in (apart.PADDED, apart.ALONE):
        findings.append(
            Finding(
                "padded-rows",
                f"{model.model_type}: {_why_not_packed(model)}, so {apart.IN_WORDS[found]}",
                "rows of similar length cost the least; data.packing has no effect",
            )
        )
    model.train()
    return findings


def _why_not_packed(model: PackedModel) -> str:
    if apart.MASK not in apart.choices(model.model_type):
        return "rows with pictures are not packed"
    return "packed rows are not the rows alone (recurrent layers, or a mask of its own)"


def _way(model: PackedModel, single: list, both, said: Tensor, tolerance: float) -> str | None:
    for way in apart.choices(model.model_type):
        model.kept_apart = way
        try:
            came = torch.cat([model.all_logits(b) for b in (single if way == apart.ALONE else [both])])
        except (RuntimeError, ValueError, TypeError, IndexError):
            continue  # it does not take such inputs
        if _distance(came, said) <= tolerance:
            return way
    return None


def _hold_shared(model: PackedModel, both, said: Tensor, tolerance: float) -> None:
    model.kept_apart = apart.MASK
    why = "recurrent layers, or attention of its own"
    try:
        off = _distance(model.all_logits(both), said)
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
        off, why = float("inf"), f"{type(error).__name__}: {error}"
    if off > tolerance:
        raise InputError(
            f"engine.context_parallel: {model.model_type}: rows that several processes share are not what the model itself says of them ({why}); leave it out"
        )


def _hold(model: PackedModel, both, single: list[Tensor], tolerance: float) -> None:
    if (off := _distance(model.all_logits(both), torch.cat(single))) > tolerance:
        raise InputError(
            f"{model.model_type}: two packed rows are {off:.2g} nats a token from the rows alone; set data.packing: false, and report it"
        )


def _distance(a: Tensor, b: Tensor) -> float:
    """Mean difference of log-probabilities at the token where it is largest."""
    if a.shape == b.shape and a.shape[-1] == 1:
        return (a - b).abs().max().item()  # scores
    return (a.log_softmax(-1) - b.log_softmax(-1)).abs().mean(-1).max().item() if a.shape == b.shape else float("inf")


def _cut(row: Row) -> Row:
    if row.pictures:
        return row  # its pictures need all their tokens
    ids, mask, kind = (t[:MOST_TOKENS] for t in (row.token_ids, row.supervised, row.token_class))
    return Row(ids, mask, kind, row.source)


def _settle_head(model: PackedModel, batch, said: Tensor, tolerance: float) -> bool:
    """Finds what becomes of the product of hidden states and head, by the names that families have for it."""
    config = model.config
    scales = [1.0]
    if getattr(config, "logits_scaling", None):
        scales.append(1 / config.logits_scaling)
    if getattr(config, "logit_scale", None):
        scales.append(float(config.logit_scale))
    caps = [None, *(getattr(config, key, None) for key in ("final_logit_softcapping", "logits_soft_cap"))]
    forms = [HeadForm(scale, cap) for scale in scales for cap in dict.fromkeys(caps)]
    model.kept_apart = apart.ALONE
    off = []
    for form in forms:
        model.head_form = form
        try:
            z = model.all_logits(batch)
        except (RuntimeError, ValueError, TypeError, IndexError):
            break  # it does more with the product than dftune leaves of it
        off.append((z - said).abs().mean(-1).max().item() if z.shape == said.shape else float("inf"))
    least = min(off, default=float("inf"))
    model.head_form = forms[off.index(least)] if least <= tolerance else PLAIN
    return least <= tolerance


def settle_routers(model: PackedModel, row: Row, device: torch.device) -> None:
    """Holds the auxiliary loss to the model's own, of one row."""
    batch = packed([_cut(row)], [0], model.config.vocab_size).to(device)
    with torch.no_grad():
        theirs = model.own_logits(batch).aux_loss
        with model.not_sharing():
            model.states(batch)
    model.routers.settle(model.routers.counts())
    mine = model.routers.part()
    model.routers.shares = None
    if theirs is None or abs(float(theirs) - float(mine)) > 1e-3 * max(1.0, abs(float(theirs))):
        raise InputError(
            f"router_aux_loss_coef: {model.model_type} has no auxiliary loss, or another one than Switch Transformer's; set it to 0"
        )
