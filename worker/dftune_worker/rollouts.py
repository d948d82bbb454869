"""A run that samples: TypeScript says what is sampled, measured and trained, one order after the other, and knows the rewards.

Orders and answers are files of `output_dir/torch/orders`, because rank 0 may be on another node than dftune: `000001.json` is
answered by `000001.answer.json`. Rank 0 reads; all ranks do what it read.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .checkpoint import Checkpoints
from .decoding import Decoding, Wanted
from .errors import check
from .given_rows import GivenRows
from .parallel import DTYPES
from .step import Taken, train_step
from .stop_request import INTERRUPTED, StopRequest
from .uniform import uniform

if TYPE_CHECKING:
    from .run import Run

POLL_SECONDS = 0.01
STATE_FILE = "rollout.safetensors"


def follow_orders(run: Run, stop: StopRequest, checkpoints: Checkpoints, finish: Callable) -> int:
    """Until the one that ends the run; returns the exit code."""
    folder = run.spec.output_dir / "torch" / "orders"
    stops = frozenset(run.spec.rollout["stop_token_ids"])
    decoding = Decoding(run.model, run.world, DTYPES[run.spec.engine["dtype"]], stops)
    measures = {"measure": _measure, "reference": _reference}
    number = 0
    while True:
        number += 1
        order = run.world.from_first(lambda n=number: _next(folder, n))
        asked = order["do"]
        if asked == "end":
            checkpoints.finish()
            if order["reason"] == "done":
                return finish(run, checkpoints)
            run.events.write("run.end", run.step, reason="interrupted", message=order["message"])
            return INTERRUPTED
        if asked == "sample":
            answer = {"samples": _sample(decoding, order)}
        elif asked == "step":
            rows = GivenRows(order["rows"])
            train_step(run, Taken(rows, np.arange(len(rows)), order["epoch"]))
            answer = {}
        elif asked == "save":
            answer = {"path": _save(run, checkpoints, order)}
        else:
            check(asked in measures, f"{folder}: order {number}: {asked!r} is none")
            answer = {"rows": measures[asked](run, GivenRows(order["rows"]))}
        checkpoints.poll()
        answer["stopping"] = stop.requested()
        if run.world.first:
            _write(folder / f"{number:06d}.answer.json", answer)


def _next(folder: Path, number: int) -> dict:
    path = folder / f"{number:06d}.json"
    while not path.exists():
        time.sleep(POLL_SECONDS)
    order = json.loads(path.read_text(encoding="utf-8"))
    path.unlink()
    return order


def _write(path: Path, answer: dict) -> None:
    temporary = path.with_suffix(".writing")
    temporary.write_text(json.dumps(answer, allow_nan=False), encoding="utf-8")
    os.replace(temporary, path)


def _sample(decoding: Decoding, order: dict) -> list[dict]:
    """`samples`: a prompt each, with what it is drawn by."""
    wanted = []
    for one in order["samples"]:
        stream = tuple(one["stream"])
        wanted.append(
            Wanted(
                tuple(order["prompts"][one["prompt"]]),
                one["most"],
                one["temperature"],
                lambda index, seed=one["seed"], stream=stream: uniform(seed, index, stream),
            )
        )
    return [{"token_ids": done.token_ids, "logprobs": _numbers(done.logprobs)} for done in decoding.completions(wanted)]


def _measure(run: Run, rows: GivenRows) -> list[dict]:
    return [{name: _numbers(values.tolist()) for name, values in row.items()} for row in run.passes.measured(rows)]


def _reference(run: Run, rows: GivenRows) -> list[dict]:
    found = run.passes.reference_logprobs(rows, np.arange(len(rows)))
    return [{"logp": _numbers(found[i].tolist())} for i in range(len(rows))]


def _numbers(values: list[float]) -> list[float | None]:
    """JSON has no NaN."""
    return [value if math.isfinite(value) else None for value in values]


def _save(run: Run, checkpoints: Checkpoints, order: dict) -> str:
    def beside(folder: Path) -> None:
        shutil.copyfile(order["state"], folder / STATE_FILE)

    checkpoints.save(run.step, run, run.trainer_state(), beside)
    checkpoints.finish()
    return str(checkpoints.path_of(run.step))
