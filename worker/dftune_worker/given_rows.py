"""Rows that TypeScript hands over while a run goes on: samples with their rewards, prompts."""

import numpy as np

from .shards import Row


class GivenRows:
    """What passes over rows look at, as `PreparedRows` has it."""

    paired = scored = False

    def __init__(self, given: list[dict]):
        self._rows = [_row(one) for one in given]
        self.lengths = np.asarray([len(row.token_ids) for row in self._rows], np.int64)
        self.column_names = tuple(self._rows[0].columns) if self._rows else ()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, sequence: int) -> Row:
        return self._rows[sequence]

    def first_with_pictures(self, _count: int) -> list[int]:
        return []


class PromptRows(GivenRows):
    """The prompts of a run that samples, or some of them: every token of theirs a target."""

    def __init__(self, prompts: list[list[int]], longest: int, key: str, count: int):
        """`longest`: tokens of the longest sequence that the run may train, prompt and completion."""
        super().__init__([{"token_ids": ids, "loss_mask": [0] + [1] * (len(ids) - 1)} for ids in prompts])
        self.lengths = np.append(self.lengths, longest)
        self.key = key
        self.manifest = {"rows": count, "supervised_tokens": 0, "key": key}


class Steps:
    """Of a run whose rows nobody knows before."""

    def __init__(self, steps: int):
        self.steps = steps


def _row(one: dict) -> Row:
    ids = np.asarray(one["token_ids"], np.int32)
    columns = one.get("columns", {})
    return Row(
        ids,
        np.asarray(one["loss_mask"], np.uint8),
        np.asarray(one.get("token_class", [0] * len(ids)), np.uint8),
        one.get("source", "(a prompt)"),
        1.0,
        {name: np.asarray(v, np.float64) if isinstance(v, list) else float(v) for name, v in columns.items()},
    )
