"""Prepared rows (docs/architecture.md, seam 1), by memory map, and the order in which a run sees them."""

import hashlib
import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .errors import InputError, check
from .safetensors_map import map_safetensors
from .vision import Picture


@dataclass(frozen=True)
class Row:
    """One sequence of T tokens; `supervised[t]` is 1 where token t is a target, predicted from t-1."""

    token_ids: np.ndarray  # [T] int32
    supervised: np.ndarray  # [T] uint8
    token_class: np.ndarray  # [T] uint8
    source: str
    weight: float = 1.0
    """How often it counts, in the loss and in what it is divided by."""
    columns: dict[str, float | np.ndarray] = field(default_factory=dict)
    """What the objective is told of all its tokens: one number, or one for each supervised token."""
    pictures: tuple[Picture, ...] = ()
    """In the order of their tokens."""
    scored_at: int | None = None
    """Of a text that is scored: the token whose hidden state is read."""


class PreparedRows:
    """The sequences of a prepared folder, numbered over all its shards. Pages are read when a row is.

    A row is one sequence, or a pair: then sequence 2r is the chosen and 2r + 1 the rejected answer of row r.
    """

    def __init__(self, folder: Path, row_columns: Path | None = None, pad_token: int | None = None):
        self.folder = folder
        self.manifest = _read_manifest(folder / "manifest.json")
        self.scored = self.manifest.get("purpose") == "scores"
        """Whole texts are, each at its last token that is not `pad_token`."""
        self.pad_token = pad_token
        self.paired = self.scored or self.manifest.get("purpose") == "preference"
        self.sides = ("chosen.", "rejected.") if self.paired else ("",)
        self._columns = map_safetensors(row_columns) if row_columns else {}
        self._pictures = _read_pictures(folder, self.manifest)
        self._shards = [self._open(entry) for entry in self.manifest["shards"]]
        self._first_row = np.cumsum([0] + [len(s[f"{self.sides[0]}row_offsets"]) - 1 for s in self._shards])
        expected, held = self.manifest["rows"], int(self._first_row[-1])
        check(held == expected, f"{folder}: manifest.json says {expected} rows, the shards hold {held}")
        per_shard = [np.stack([np.diff(s[f"{side}row_offsets"]) for side in self.sides], 1) for s in self._shards]
        self.lengths = np.concatenate(per_shard).reshape(-1) if per_shard else np.zeros(0, np.int64)
        """Tokens of each sequence."""
        self._tokens: dict[str, dict[int, np.ndarray]] = {}
        self.reference_of_others: dict[tuple[int, ...], np.ndarray] = {}
        """KTO's answers to other prompts: sums of ln pi_ref by the step's sequences."""
        for name, values in self._columns.items():
            check(len(values) == expected, f"{row_columns}: {name} has {len(values)} numbers for {expected} rows")

    def sequences_of(self, rows: np.ndarray) -> np.ndarray:
        """The sequences of rows, a row's own one after the other."""
        count = len(self.sides)
        return (np.asarray(rows, np.int64)[:, None] * count + np.arange(count)).reshape(-1)

    def batches(self, batch_size: int) -> list[np.ndarray]:
        """All sequences once, as steps of an evaluation have them."""
        rows = self.manifest["rows"]
        return [
            self.sequences_of(np.arange(start, min(start + batch_size, rows))) for start in range(0, rows, batch_size)
        ]

    @property
    def key(self) -> str:
        """What the rows are, whatever made them; version 1 of the folder knows only what they were made from."""
        return self.manifest.get("rows_sha256", self.manifest["key"])

    @property
    def column_names(self) -> tuple[str, ...]:
        own = (*(("pair_sign",) if self.paired else ()), *(("margin",) if self.scored else ()))
        return (*self._columns, *self._tokens, *own)

    def bring(self, name: str, values: dict[int, np.ndarray]) -> None:
        """One more column: by sequence, a number for each supervised token."""
        self._tokens[name] = values

    def __len__(self) -> int:
        """Sequences."""
        return int(self._first_row[-1]) * len(self.sides)

    def __getitem__(self, sequence: int) -> Row:
        index, which = divmod(sequence, len(self.sides))
        if not 0 <= sequence < len(self):
            raise InputError(f"{self.folder}: row {index} is asked for, there are {len(self)}; prepare again")
        side = self.sides[which]
        shard_index = int(np.searchsorted(self._first_row, index, side="right")) - 1
        shard = self._shards[shard_index]
        local = index - int(self._first_row[shard_index])
        start, end = (int(n) for n in shard[f"{side}row_offsets"][local : local + 2])
        part = slice(start, end)
        weights = shard.get(f"{side}row_weight")
        columns = {name: float(values[index]) for name, values in self._columns.items()}
        columns |= {name: values[sequence] for name, values in self._tokens.items() if sequence in values}
        if self.paired:
            columns["pair_sign"] = 1.0 if which == 0 else -1.0
        if self.scored:
            columns["margin"] = float(shard[f"{side}row_value"][local]) if f"{side}row_value" in shard else 0.0
        row = Row(
            shard[f"{side}token_ids"][part],
            shard[f"{side}loss_mask"][part],
            shard[f"{side}token_class"][part],
            self._source(shard, local),
            1.0 if weights is None else float(weights[local]),
            columns,
            self._pictures.get(self._place(shard, local), ()),
            self._scored_at(shard[f"{side}token_ids"][part]) if self.scored else None,
        )
        check(
            len(row.token_ids) > 0 and not row.supervised[0],
            f"{row.source}: the first token of a row is never a target",
        )
        return row

    def _scored_at(self, ids: np.ndarray) -> int:
        """The last token that is no padding, the first where all are: where Transformers reads a text's score."""
        real = np.flatnonzero(ids != self.pad_token) if self.pad_token is not None else np.arange(len(ids))
        return int(real[-1]) if len(real) else 0

    def _place(self, shard: dict[str, np.ndarray], local: int) -> tuple[int, int]:
        """The number of its source, and the line there."""
        return int(shard[f"{self.sides[0]}row_source"][local]), int(shard[f"{self.sides[0]}row_line"][local])

    def _source(self, shard: dict[str, np.ndarray], local: int) -> str:
        sources, (index, line) = self.manifest["sources"], self._place(shard, local)
        path = sources[index]["path"] if 0 <= index < len(sources) else f"source {index}"
        return f"{path}:{line}"

    def first_with_pictures(self, count: int) -> list[int]:
        """Of the first rows, up to `count`; fewer where they have none."""
        if not self._pictures:
            return []
        seen = (i for i in range(min(len(self), 1000)) if self[i].pictures)
        return list(itertools.islice(seen, count))

    def _open(self, entry: dict) -> dict[str, np.ndarray]:
        name = str(entry.get("file", ""))
        check(
            name == Path(name).name and name not in ("", ".", ".."),
            f"{self.folder}/manifest.json: shard name {name!r} leaves its folder",
        )
        path = self.folder / name
        shard = map_safetensors(path)
        for side in self.sides:
            _check_side(path, shard, side)
        return shard


def _check_side(path: Path, shard: dict[str, np.ndarray], side: str) -> None:
    names = ("token_ids", "loss_mask", "token_class", "row_offsets", "row_source", "row_line")
    missing = [side + n for n in names if side + n not in shard]
    check(not missing, f"{path}: tensors {', '.join(missing)} are missing; prepare the data again")
    ids, mask, kind, offsets, source, line = (shard[side + n] for n in names)
    tokens = len(ids)
    whole = len(offsets) >= 1 and offsets[0] == 0 and offsets[-1] == tokens and (np.diff(offsets) > 0).all()
    check(bool(whole), f"{path}: {side}row_offsets must rise from 0 to {tokens}")
    rows = len(offsets) - 1
    check(
        len(mask) == len(kind) == tokens and len(source) == len(line) == rows,
        f"{path}: tensors disagree about the number of rows or tokens",
    )


def _read_pictures(folder: Path, manifest: dict) -> dict[tuple[int, int], tuple[Picture, ...]]:
    """By source and line."""
    if "pictures_sha256" not in manifest:
        return {}
    path = folder / "pictures.jsonl"
    try:
        data = path.read_bytes()
        whole = hashlib.sha256(data).hexdigest() == manifest["pictures_sha256"]
        check(whole, f"{path}: its SHA-256 is not the manifest's; prepare the data again")
        return {
            (row["source"], row["line"]): tuple(
                Picture(Path(p["path"]), p["sha256"], p["width"], p["height"], p["tokens"]) for p in row["pictures"]
            )
            for row in map(json.loads, data.splitlines())
        }
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _read_manifest(path: Path) -> dict:
    try:
        manifest = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    for key in ("key", "rows", "supervised_tokens", "sources", "shards"):
        check(key in manifest, f"{path}: key {key!r} is missing; prepare the data again")
    return manifest


def verify_shards(rows: PreparedRows) -> None:
    """Compares each shard's SHA-256 with the manifest's. One rank does this, once, before training."""
    for entry in rows.manifest["shards"]:
        path = rows.folder / entry["file"]
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
        check(
            digest.hexdigest() == entry["sha256"], f"{path}: its SHA-256 is not the manifest's; prepare the data again"
        )


class RunOrder:
    """Which rows make which optimizer step, for the whole run, as TypeScript wrote it."""

    def __init__(self, path: Path, rows: PreparedRows):
        tensors = map_safetensors(path)
        check({"order", "step_offsets"} <= tensors.keys(), f"{path}: expected tensors order and step_offsets")
        self._order, self._offsets = tensors["order"], tensors["step_offsets"]
        rising = len(self._offsets) >= 2 and self._offsets[0] == 0 and (np.diff(self._offsets) > 0).all()
        check(
            bool(rising) and self._offsets[-1] == len(self._order),
            f"{path}: step_offsets must rise from 0 to {len(self._order)}",
        )
        inside = self._order.min() >= 0 and self._order.max() < rows.manifest["rows"]
        check(
            bool(inside),
            f"{path}: names rows that {rows.folder} does not have; shards and order belong to different runs",
        )

    @property
    def steps(self) -> int:
        return len(self._offsets) - 1

    def rows_before(self, step: int) -> int:
        """Rows seen before step `step` (from 1)."""
        return int(self._offsets[step - 1])

    def rows_of(self, step: int) -> np.ndarray:
        """Row indices of step `step` (from 1)."""
        return self._order[self._offsets[step - 1] : self._offsets[step]]
