"""A step's numbers from its tokens: everything is a sum, so that micro-batches and ranks add up."""

import torch

from .parallel import World

BIN_EDGES = torch.linspace(0, 1, 11, dtype=torch.float64)[1:-1]
SMALL_EDGES = torch.tensor([1e-4, 1e-3, 1e-2], dtype=torch.float64)
SUMS = (
    "tokens",
    "supervised",
    "loss",
    "nll",
    "p",
    "weight",
    "weight_sizes",
    "weight_of_rows",
    "weight_squares",
    "entropy",
    "correct",
    "eos",
    "eos_p",
    "special",
    "special_p",
    "kl_ref",
    "loss_scaled",
    "told",
)
END_OF_TURN, SPECIAL = 1, 2


class TokenSums:
    """Sums over supervised tokens, on the device until `totals`."""

    def __init__(self, device: torch.device):
        self._sums = torch.zeros(len(SUMS), dtype=torch.float64, device=device)
        self._bins = torch.zeros(10 + 4, dtype=torch.float64, device=device)
        self._edges = (BIN_EDGES.to(device), SMALL_EDGES.to(device))

    def add(
        self,
        columns: dict[str, torch.Tensor],
        token_class: torch.Tensor,
        row_weight: torch.Tensor,
        tokens: int,
        loss_scaled: torch.Tensor,
        told: torch.Tensor | None = None,
    ) -> None:
        """One micro-batch: columns of [S], its number of tokens, and its part of the normalised loss. Where not all tokens
        are told (of pairs the chosen sides are), `told` [S] is true on those that are."""
        supervised = len(columns["logp"])
        if told is not None:
            columns = {name: values[told] for name, values in columns.items() if values.shape == told.shape}
            token_class, row_weight = token_class[told], row_weight[told]
        p, weight = columns["logp"].exp(), columns["weight"]
        ends, specials = ((token_class == kind).double() for kind in (END_OF_TURN, SPECIAL))
        zero = p.new_zeros(())
        kl = columns["kl_ref"].sum() if "kl_ref" in columns else zero
        parts = [
            zero + tokens,
            zero + supervised,
            columns["loss"].sum(),
            -columns["logp"].sum(),
            p.sum(),
            weight.sum(),
            weight.abs().sum(),
            (weight * row_weight).sum(),
            weight.square().sum(),
        ]
        parts += [
            columns["entropy"].sum(),
            columns["correct"].sum(),
            ends.sum(),
            (ends * p).sum(),
            specials.sum(),
            (specials * p).sum(),
            kl,
            loss_scaled.double(),
            zero + len(p),
        ]
        self._sums += torch.stack(parts)
        edges, small = self._edges
        ones = torch.ones_like(p)  # added by place: bincount would wait for the GPU
        self._bins[:10].index_add_(0, torch.bucketize(p, edges, right=True), ones)
        self._bins[10:].index_add_(0, torch.bucketize(p, small, right=True), ones)

    def totals(self, world: World) -> tuple[dict[str, float], list[int], list[int]]:
        """Over all ranks: sums by name, the ten bins, and the three small ones."""
        everything = world.sum(torch.cat([self._sums, self._bins])).tolist()
        bins = [round(n) for n in everything[len(SUMS) :]]
        return dict(zip(SUMS, everything, strict=False)), bins[:10], bins[10:13]


def means(t: dict[str, float], paired: bool = False) -> dict[str, float | None]:
    """The per-token fields of a step event from its totals. Weights of both signs cancel: nothing is told of those of pairs."""
    n = max(1.0, t["told"])
    weights = {
        "mean_weight": t["weight"] / n,
        "effective_tokens": t["weight_sizes"] ** 2 / t["weight_squares"] if t["weight_squares"] > 0 else 0.0,
    }
    return {
        "nll": t["nll"] / n,
        "mean_p": t["p"] / n,
        **({} if paired else weights),
        "entropy": t["entropy"] / n,
        "token_accuracy": t["correct"] / n,
        "eos_p": t["eos_p"] / t["eos"] if t["eos"] > 0 else None,
        "special_p": t["special_p"] / t["special"] if t["special"] > 0 else None,
    }
