"""What losses of pairs and labelled answers are told by, and KTO's answers to other prompts."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from .expression import IMPLICIT_REWARD, Objective
from .packing import MicroBatch
from .parallel import World
from .shards import Row

Tensor = torch.Tensor
FIELDS = ("clip_low", "clip_high", "policy_kl", "advantage_abs")


@dataclass(frozen=True)
class Outcome:
    """One answer: its place in the step (2k and 2k + 1 are a pair), and how it fares."""

    sequence: int
    chosen: bool
    logp: float
    tokens: int
    reward: float


@dataclass(frozen=True)
class Told:
    """What is reported of a step beside its tokens' sums, the same on every rank."""

    loss: float | None
    """The reported value, divided; None where it is the loss's own."""
    outcomes: list[Outcome]
    measures: dict[str, float]
    largest_ratio: float | None
    kl_step: float | None


def all_tokens(batches: list[MicroBatch], seen: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tokens of all micro-batches one after the other: what was measured of them and what came with them."""
    measured = {name: torch.cat([columns[name] for columns in seen]) for name in seen[0]}
    return measured | {name: torch.cat([b.columns[name] for b in batches]) for name in batches[0].columns}


def told_of(
    objective: Objective,
    world: World,
    batches: list[MicroBatch],
    seen: list[dict[str, Tensor]],
    given: dict[str, Tensor],
    scales: list[Tensor],
) -> Told | None:
    if objective.value is None and not objective.measures:
        return None
    columns, sequence = all_tokens(batches, seen), torch.cat([b.sequence for b in batches])
    value, measures = objective.told(columns | given, sequence, world.gather)
    loss = None if value is None else float(world.sum((value * torch.cat(scales)).sum()))
    reward = measures.pop(IMPLICIT_REWARD, None)
    return Told(
        loss,
        _outcomes(world, columns, sequence, reward),
        {name: _mean(world, values) for name, values in measures.items()},
        world.largest(float(measures["ratio"].max()) if len(measures["ratio"]) else -math.inf)
        if "ratio" in measures
        else None,
        float(given["kl_step"]) if "kl_step" in given else None,
    )


def _mean(world: World, values: Tensor) -> float:
    total, count = world.sum(torch.stack([values.sum(), values.new_tensor(float(len(values)))])).tolist()
    return total / max(1.0, count)


def _outcomes(world: World, columns: dict[str, Tensor], sequence: Tensor, reward: Tensor | None) -> list[Outcome]:
    if "pair_sign" not in columns:
        return []
    logp, sign = columns["logp"].cpu().numpy(), columns["pair_sign"].cpu().numpy()
    rewards = np.zeros(len(logp)) if reward is None else reward.cpu().numpy()
    places = sequence.cpu().numpy()
    mine = []
    for place in np.unique(places):
        own = np.flatnonzero(places == place)
        mine.append(
            Outcome(int(place), bool(sign[own[0]] > 0), float(logp[own].sum()), len(own), float(rewards[own[0]]))
        )
    return sorted((o for part in world.gather_objects(mine) for o in part), key=lambda o: o.sequence)


def joined(parts: list[Told | None]) -> Told:
    """Several batches as one: losses weighed by their answers, pairs kept apart."""
    outcomes, losses, weights, start = [], [], [], 0
    for part in (p for p in parts if p is not None):
        outcomes += [replace(o, sequence=o.sequence + start) for o in part.outcomes]
        start += 2 * len(part.outcomes)
        losses.append(part.loss)
        weights.append(len(part.outcomes))
    known = bool(losses) and None not in losses
    loss = float(np.average(losses, weights=weights)) if known else None
    return Told(loss, outcomes, {}, None, None)


def mismatched(rows: list[Row], max_length: int) -> list[Row]:
    """Prompt i with answer i - 1, cyclic, cut on the right."""

    def part(asked: Row, said: Row) -> Row:
        prompt, answer = int(np.argmax(asked.supervised)), int(np.argmax(said.supervised))

        def join(name: str) -> np.ndarray:
            return np.concatenate([getattr(asked, name)[:prompt], getattr(said, name)[answer:]])[:max_length]

        return Row(join("token_ids"), join("supervised"), join("token_class"), asked.source, pictures=asked.pictures)

    return [part(row, rows[i - 1]) for i, row in enumerate(rows)]


def fields_of(told: Told | None, paired: bool, scored: bool = False) -> dict:
    """The fields of a step or eval event. Texts that are scored have no log-probability."""
    if told is None:
        return {}
    measures = dict(told.measures)
    fields = {name: measures.pop(name) for name in FIELDS if name in measures}
    if "ratio" in measures:
        fields["ratio"] = {"mean": measures.pop("ratio"), "max": told.largest_ratio}
    if measures:
        fields["measures"] = measures
    if told.kl_step is not None:
        fields["kl_step"] = told.kl_step
    return fields | _pair_fields(told.outcomes, paired, scored)


def _pair_fields(outcomes: list[Outcome], paired: bool, scored: bool) -> dict[str, float]:
    sides = {"chosen": [o for o in outcomes if o.chosen], "rejected": [o for o in outcomes if not o.chosen]}
    fields: dict[str, float] = {}
    for name, of in sides.items():
        if of:
            fields[f"reward_{name}"] = float(np.mean([o.reward for o in of]))
            if not scored:
                fields[f"logp_{name}"] = float(np.mean([o.logp for o in of]))
    if sides["chosen"] and not scored:
        fields["nll_chosen"] = -sum(o.logp for o in sides["chosen"]) / sum(o.tokens for o in sides["chosen"])
    if paired:
        by_place = {o.sequence: o for o in outcomes}
        margins = [
            o.reward - by_place[o.sequence + 1].reward
            for o in outcomes
            if o.sequence % 2 == 0 and o.sequence + 1 in by_place
        ]
        if margins:
            fields["reward_margin"] = float(np.mean(margins))
            fields["reward_accuracy"] = float(np.mean([m > 0 for m in margins]))
    elif all(sides.values()):
        fields["reward_margin"] = fields["reward_chosen"] - fields["reward_rejected"]
    return fields
