"""Reward models: one number of a whole text in place of logits, at its last token that is no padding.

The loss is the objective's expression over `score` and `margin` (Bradley and Terry's, architecture.md, seam 2). What is told
of probabilities is of the verdict: a coin that says "the chosen one is better" with sigmoid(s_chosen - s_rejected).
"""

import torch
from torch import nn
from torch.nn.functional import logsigmoid

from .head import HeadRequest

Tensor = torch.Tensor
NAME = "score"
"""Of the module, as Transformers' ...ForSequenceClassification has it."""
VERDICT = "verdict"
"""The column with s_chosen - s_rejected of each sequence's pair, known after a first pass."""


def head_of(model: nn.Module) -> nn.Module | None:
    """What makes logits, or scores, of hidden states."""
    score = getattr(model, NAME, None)
    return score if isinstance(score, nn.Linear) else model.get_output_embeddings()


def score_pass(hidden: Tensor, weight: Tensor, request: HeadRequest) -> Tensor:
    """The scaled loss of hidden states [S, C] of the scored tokens under a head [1, C]: a scalar to call backward on.

    Its gradient is taken here, through the objective's own d loss / d score; statistics land in `request.columns`, [S] each.
    """
    score = (hidden.float() @ weight.float().T)[:, 0]
    known = score.detach().double()
    columns = {NAME: known, **verdict_columns(request.columns_given.get(VERDICT, torch.zeros_like(known)))}
    request.columns = columns
    if request.objective is None:
        return known.sum() * 0
    loss, gradients = request.objective(columns | request.columns_given, slice(None))
    slope = gradients.get(NAME, torch.zeros_like(loss))
    columns["loss"], columns["weight"] = loss, -slope
    value = (loss * request.scale).sum()
    # its value is the loss, its gradient the slope's: the objective's reductions have none of their
    # own
    return (value + ((score.double() - known) * (slope * request.scale)).sum()).float()


def verdict_columns(margin: Tensor) -> dict[str, Tensor]:
    """Of the coin: how likely it says what the row says, its entropy, whether it would."""
    logp, other = logsigmoid(margin), logsigmoid(-margin)
    entropy = -(logp.exp() * logp + other.exp() * other)
    return {"logp": logp, "entropy": entropy, "correct": (margin > 0).double()}
