"""Rows to micro-batches. Every rank computes the whole plan for itself, from row lengths alone, so nobody has to be asked."""

import functools
from dataclasses import dataclass

import numpy as np
import torch

from .errors import InputError
from .shards import PreparedRows, Row
from .vision import Picture


@dataclass(frozen=True)
class MicroBatch:
    """Rows side by side; a token attends only inside its own row. T tokens, S supervised ones, R rows."""

    token_ids: torch.Tensor  # [1, T]
    position_ids: torch.Tensor  # [1, T], from 0 in every row
    lengths: tuple[int, ...]  # R
    row_starts: torch.Tensor  # [R + 1] int32, for kernels
    predicting: torch.Tensor  # [S] positions whose hidden state predicts a target
    targets: torch.Tensor  # [S]
    token_class: torch.Tensor  # [S]
    sequence: torch.Tensor  # [S] which sequence of the optimizer step
    weight: torch.Tensor  # [S] float64: how often its row counts
    columns: dict[str, torch.Tensor]  # [S] float64 each: token_class, and what rows bring with them
    sources: tuple[str, ...]  # R
    pictures: tuple[tuple[Picture, ...], ...] = ()  # R, or none where no row can have any

    def to(self, device: torch.device) -> "MicroBatch":
        def move(v):
            if isinstance(v, dict):
                return {name: move(value) for name, value in v.items()}
            return v.to(device, non_blocking=True) if isinstance(v, torch.Tensor) else v

        return MicroBatch(**{name: move(value) for name, value in self.__dict__.items()})


def share_rows(lengths: np.ndarray, ranks: int) -> list[list[int]]:
    """Indices of `lengths` by rank: longest first, each to the rank with the fewest tokens so far."""
    loads, shares = [0] * ranks, [[] for _ in range(ranks)]
    for index in sorted(range(len(lengths)), key=lambda i: (-int(lengths[i]), i)):
        rank = loads.index(min(loads))
        loads[rank] += int(lengths[index])
        shares[rank].append(index)
    return shares


def best_fit(lengths: np.ndarray, indices: list[int], capacity: int, packing: bool = True) -> list[list[int]]:
    """Bins of at most `capacity` tokens: longest first, each into the fullest bin that still holds it."""
    bins: list[list[int]] = []
    room: list[int] = []
    for index in sorted(indices, key=lambda i: (-int(lengths[i]), i)):
        length = int(lengths[index])
        if length > capacity:
            raise InputError(
                f"a row of {length} tokens does not fit micro_batch_tokens: {capacity}; raise it or lower data.max_length"
            )
        fitting = [b for b in range(len(bins)) if room[b] >= length] if packing else []
        if not fitting:
            bins.append([index])
            room.append(capacity - length)
        else:
            tightest = min(fitting, key=lambda b: (room[b], b))
            bins[tightest].append(index)
            room[tightest] -= length
    return [sorted(b) for b in bins]


def by_length(lengths: np.ndarray, indices: list[int], capacity: int) -> list[list[int]]:
    """Bins whose rows, filled up to their longest, take at most `capacity` tokens."""
    bins: list[list[int]] = []
    for index in sorted(indices, key=lambda i: (-int(lengths[i]), i)):
        longest = int(lengths[bins[-1][0]]) if bins else 0
        if bins and longest * (len(bins[-1]) + 1) <= capacity:
            bins[-1].append(index)
        else:
            bins.append([index])
    return [sorted(b) for b in bins]


def plan_step(
    lengths: np.ndarray, ranks: int, rank: int, capacity: int, packing: bool, padded: bool = False
) -> list[list[int]]:
    """This rank's micro-batches as positions within the step. All ranks get the same number: collectives must match."""
    shares = share_rows(lengths, ranks)
    fit = by_length if padded and packing else functools.partial(best_fit, packing=packing)
    bins = [fit(lengths, share, capacity) for share in shares]
    most = max(len(b) for b in bins)
    return bins[rank] + [[] for _ in range(most - len(bins[rank]))]


def micro_batch(rows: PreparedRows, order: np.ndarray, positions: list[int], vocab_size: int) -> MicroBatch:
    """The sequences `order[positions]` packed."""
    return packed([rows[int(order[p])] for p in positions], positions, vocab_size, rows.column_names)


def packed(chosen: list[Row], positions: list[int], vocab_size: int, column_names: tuple[str, ...] = ()) -> MicroBatch:
    """Rows side by side, `positions` in the step. Without rows it is one unsupervised token, so that collectives still match."""
    for row in chosen:
        low, high = int(row.token_ids.min()), int(row.token_ids.max())
        if low < 0 or high >= vocab_size:
            raise InputError(
                f"{row.source}: token id {low if low < 0 else high} is outside the model's vocabulary of {vocab_size}; the data was prepared with another tokenizer"
            )
    if not chosen:
        nothing = np.zeros(1, np.uint8)
        chosen, positions = [Row(np.zeros(1, np.int32), nothing, nothing, "(no row)")], [0]
    lengths = [len(row.token_ids) for row in chosen]
    starts = np.cumsum([0, *lengths])
    token_ids = np.concatenate([row.token_ids for row in chosen]).astype(np.int64)
    scored = any(row.scored_at is not None for row in chosen)
    places = [np.arange(len(row.token_ids)) == row.scored_at if scored else row.supervised for row in chosen]
    supervised = np.flatnonzero(np.concatenate(places))
    sequence = np.repeat(np.asarray(positions, np.int64), lengths)
    counts = [int(place.sum()) for place in places]
    kinds = np.concatenate([row.token_class for row in chosen])[supervised].astype(np.int64)
    token_class = torch.from_numpy(kinds * 0 if scored else kinds)  # a score is of no token

    def by_row(values: list[float]) -> torch.Tensor:
        return torch.from_numpy(np.repeat(np.asarray(values, np.float64), counts))

    def column(name: str) -> torch.Tensor:
        values = [np.asarray(row.columns.get(name, 0.0), np.float64) for row in chosen]
        return torch.from_numpy(np.concatenate([np.broadcast_to(v, (n,)) for v, n in zip(values, counts, strict=True)]))

    return MicroBatch(
        token_ids=torch.from_numpy(token_ids)[None],
        position_ids=torch.from_numpy(np.concatenate([np.arange(n) for n in lengths]))[None],
        lengths=tuple(lengths),
        row_starts=torch.from_numpy(starts.astype(np.int32)),
        predicting=torch.from_numpy(supervised if scored else supervised - 1),
        targets=torch.from_numpy(token_ids[supervised]),
        token_class=token_class,
        sequence=torch.from_numpy(sequence[supervised]),
        weight=by_row([row.weight for row in chosen]),
        columns={
            "token_class": token_class.double(),
            "position": torch.from_numpy(np.concatenate([np.arange(n, dtype=np.float64) for n in counts])),
            **{name: column(name) for name in column_names},
        },
        sources=tuple(row.source for row in chosen),
        pictures=tuple(row.pictures for row in chosen),
    )
