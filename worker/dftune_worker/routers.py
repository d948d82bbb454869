"""The auxiliary loss of routers to experts, as Transformers defines it (Switch Transformer, arXiv 2101.03961, (4) to (6)).

Over the T tokens of an optimizer step in L layers, with the k experts that each token is sent to:

    aux_loss = E sum_e f_e P_e,   f_e = tokens sent to e / (T L),   P_e = mean probability of e

f has no gradient and P is a mean, so a step may be split in any way once f is known: a pass before counts it.
"""

import torch

from .apart import OWN_FAMILIES
from .context import Part
from .errors import check
from .packing import MicroBatch

Tensor = torch.Tensor


class Routers:
    """Gathers what routers said of micro-batches. `shares` [E] is f of the whole step and `decisions` T L of it."""

    def __init__(self, coefficient: float, chosen: int):
        self.coefficient, self._chosen = coefficient, chosen
        self.coefficient_of_part = coefficient
        """With what gradients are divided by afterwards."""
        self.shares: Tensor | None = None
        self.decisions = 1.0
        self._seen: tuple[Tensor, Tensor, float] | None = None

    def saw(self, logits: tuple[Tensor, ...], real: Tensor | None, batch: MicroBatch | Part) -> None:
        """Logits [R L, E] of each layer; `real` [R, L] says which are tokens."""
        empty = batch.sources == ("(no row)",)
        tokens = None if real is None else real.flatten()
        counts = sums = 0.0
        decisions = 0
        for layer in logits:
            layer = layer.flatten(0, -2)
            p = (layer if tokens is None else layer[tokens]).float().softmax(-1)  # [T, E]
            sent = p.detach().topk(self._chosen, -1).indices.flatten()
            counts = counts + torch.bincount(sent, minlength=p.shape[-1]).double()
            sums = sums + p.sum(0)
            decisions += len(p)
        self._seen = (counts * 0, sums * 0, 0.0) if empty else (counts, sums, float(decisions))

    def counts(self) -> Tensor:
        """[E + 1] of the last micro-batch: tokens sent to each expert, and decisions."""
        counts, _, decisions = self._seen
        return torch.cat([counts, counts.new_tensor([decisions])])

    def settle(self, counts: Tensor) -> None:
        """From the sum of all micro-batches' `counts`."""
        self.decisions = float(counts[-1])
        self.shares = counts[:-1] / max(1.0, self.decisions)

    def part(self) -> Tensor:
        """The last micro-batch's part of the step's aux_loss: they sum to it."""
        _, sums, _ = self._seen
        return len(sums) * (self.shares.to(sums.dtype) * sums).sum() / max(1.0, self.decisions)

    def loss(self) -> Tensor:
        """What is added to the micro-batch's loss; nothing while f is unknown."""
        return self._seen[1].new_zeros(()) if self.shares is None else self.coefficient_of_part * self.part()


def routers_of(settings: dict, objective: dict, config) -> Routers | None:
    """router_aux_loss_coef of the config, or of a checkpoint that asks for router logits."""
    given = settings.get("router_aux_loss_coef")
    own = getattr(config, "router_aux_loss_coef", 0.0) if getattr(config, "output_router_logits", False) else 0.0
    coefficient = own if given is None else given
    if not coefficient:
        return None
    chosen = getattr(config, "num_experts_per_tok", None)
    check(
        bool(chosen) and config.model_type not in OWN_FAMILIES,
        f"router_aux_loss_coef: {config.model_type} has no experts; leave it out",
    )
    check(
        objective["normalization"] != "weights",
        "router_aux_loss_coef: normalization: weights divides by a sum that is known too late for it; take tokens",
    )
    return Routers(float(coefficient), int(chosen))
