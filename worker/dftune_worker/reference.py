"""The reference's log-probabilities: measured once, before the first update, and kept beside the prepared rows."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import save_file

from .errors import InputError
from .expression import Objective
from .safetensors_map import map_safetensors
from .self_check import Finding
from .shards import PreparedRows, RunOrder

if TYPE_CHECKING:
    from .parallel import World
    from .passes import Passes
    from .spec import RunSpec

NAME = "ref_logp"
SHA256 = "sha256"


def is_measured_once(objective: Objective, rows: PreparedRows) -> bool:
    """Losses of pairs and labels. Objectives on targets, and what needs the whole distribution, run the reference beside."""
    return NAME in objective.inputs and "kl_ref" not in objective.inputs and "pair_sign" in rows.column_names


class StoredReference:
    """ln pi_ref of each supervised token, by sequence; for KTO also its sum over each answer to another prompt, by step."""

    def __init__(self, spec: RunSpec, rows: PreparedRows, steps: list[np.ndarray], objective: Objective, world: World):
        """`steps` are the sequences of each step, in order."""
        self.steps, self.world = steps, world
        self.with_others = "kl_step" in objective.inputs
        config = spec.config
        key = [
            spec.reference_key,
            spec.engine["dtype"],
            config["micro_batch_tokens"],
            config["data"]["packing"],
            world.size if world.context is None else [world.size, world.context.size],
            rows.key,
            config["data"]["max_length"] if self.with_others else None,
            [step.tolist() for step in steps] if self.with_others else sorted({int(i) for step in steps for i in step}),
        ]
        name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
        self.path = rows.folder / f"reference-torch-{name}.safetensors" if spec.reference_key else None
        self.tokens: dict[int, np.ndarray] = {}
        self.others: list[np.ndarray] = []
        self.damage: str | None = None
        self._read()

    @property
    def is_complete(self) -> bool:
        return bool(self.tokens)

    def measure(self, passes: Passes, rows: PreparedRows) -> None:
        """Every rank computes its share and learns the others'. The first one writes them."""
        wanted = np.unique(np.concatenate(self.steps))
        self.tokens = passes.reference_logprobs(rows, wanted)
        self.others = [passes.reference_of_others(rows, step) for step in self.steps] if self.with_others else []
        if self.world.first and self.path:
            self._write()
        self.world.barrier()

    def bring_to(self, rows: PreparedRows) -> None:
        rows.bring(NAME, self.tokens)
        rows.reference_of_others = {tuple(s.tolist()): sums for s, sums in zip(self.steps, self.others, strict=False)}

    def _write(self) -> None:
        order = sorted(self.tokens)
        tensors = {
            "sequences": np.asarray(order, np.int32),
            "lengths": np.asarray([len(self.tokens[i]) for i in order], np.int32),
            NAME: np.concatenate([self.tokens[i] for i in order]).astype(np.float32),
        }
        if self.others:
            tensors["others"] = np.concatenate(self.others).astype(np.float32)
        tensors[SHA256] = hash_of(self.path, tensors)
        temporary = self.path.with_name(f".{self.path.name}.writing")
        save_file(tensors, str(temporary))
        temporary.replace(self.path)

    def _read(self) -> None:
        """All ranks read, or none: one that measured alone would wait for the others."""
        found = self._readable()
        if self.world.largest(float(found is None)) > 0 or found is None:
            return
        starts = np.cumsum([0, *found["lengths"]])
        for place, sequence in enumerate(found["sequences"].tolist()):
            self.tokens[sequence] = np.array(found[NAME][starts[place] : starts[place + 1]])
        if self.with_others:
            ends = np.cumsum([len(step) for step in self.steps])[:-1]
            self.others = np.split(np.array(found["others"]), ends)

    def _readable(self) -> dict[str, np.ndarray] | None:
        """None where there is nothing, or where it is not what was written: it is measured again."""
        if self.path is None or not Path(self.path).exists():
            return None
        try:
            found = map_safetensors(self.path)
        except InputError as error:
            self.damage = str(error)
            return None
        written = found.pop(SHA256, None)
        if written is None:
            return None  # an earlier version's: nothing tells whether it is right
        if np.array_equal(written, hash_of(self.path, found)):
            return found
        self.damage = f"{self.path}: its content is not what was written"
        return None


def hash_of(path: Path, tensors: dict[str, np.ndarray]) -> np.ndarray:
    """[32] bytes: of what the file is for, which its name says, and of its content."""
    digest = hashlib.sha256(path.name.encode())
    for name in sorted(tensors):
        digest.update(f"\0{name}\0{tensors[name].nbytes}\0".encode())
        digest.update(np.ascontiguousarray(tensors[name]))
    return np.frombuffer(digest.digest(), np.uint8)


def damaged_references(stored: dict[str, StoredReference]) -> list[Finding]:
    what = "the stored log-probabilities of the reference were damaged and have been measured again"
    hint = "nothing is lost; a disk that does this often is failing"
    return [Finding("damaged-cache", f"{what} ({one.damage})", hint) for one in stored.values() if one.damage]


APART = 0.1
"""Nats a token, on average: rounding in 16 bits makes some hundredths, another model, template or adapter more."""


def mismatch(expected: float, loss: float, apart: float, rounds: bool) -> str | None:
    """What is wrong with a first step at the reference, where the loss is known; `rounds`: in 16 bits, to rounding."""
    if abs(loss - expected) <= 1e-3 * max(1.0, abs(expected)) or (rounds and apart <= APART):
        return None
    return (
        f"reference-mismatch: at the first step the policy is its reference, where the loss is {expected:.6g}, but it came out "
        f"as {loss:.6g}, and the tokens' log-probabilities are {apart:.2g} nats apart on average; the reference's "
        "log-probabilities belong to another model, template or adapter. Remove the files "
        "reference-torch-*.safetensors beside the prepared rows, and they are measured again"
    )


def stored_references(
    spec: RunSpec, world: World, objective: Objective, rows: PreparedRows, order: RunOrder
) -> dict[str, StoredReference]:
    """By eval set, and "" for the training rows; empty where the reference runs beside the policy, or there is none."""
    if not is_measured_once(objective, rows):
        return {}
    steps = [rows.sequences_of(order.rows_of(step)) for step in range(1, order.steps + 1)]
    found = {"": StoredReference(spec, rows, steps, objective, world)}
    for entry in spec.eval:
        held = spec.rows_of(entry.prepared, entry.row_columns)
        found[entry.name] = StoredReference(spec, held, held.batches(spec.config["batch_size"]), objective, world)
    return found


def measure_references(spec: RunSpec, passes: Passes, rows: PreparedRows, stored: dict[str, StoredReference]) -> None:
    """What is not known yet, with the reference that is there now; afterwards nobody needs it."""
    held = {"": rows} | {entry.name: spec.rows_of(entry.prepared, entry.row_columns) for entry in spec.eval}
    for name, one in stored.items():
        if not one.is_complete:
            one.measure(passes, held[name])
    stored[""].bring_to(rows)
    passes.reference, passes.stored_reference, passes.begins_at_reference = None, True, True
