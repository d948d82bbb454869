"""One optimizer step: gradients of sums, one division, clipping, the update, its events."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .errors import TrainingStopped, check
from .evaluation import divisor_of
from .given_rows import GivenRows
from .memory import memory_bytes, return_free_memory
from .model import step_randomness
from .preferences import fields_of
from .reference import mismatch
from .schedule import learning_rate, warmup_steps
from .shards import PreparedRows
from .statistics import means

if TYPE_CHECKING:
    from .passes import StepOutcome
    from .run import Run


@dataclass(frozen=True)
class Taken:
    """The rows of an optimizer step."""

    rows: PreparedRows | GivenRows
    sequences: np.ndarray
    epoch: float
    """Done with these."""


def next_rows(run: Run) -> Taken:
    """Of the step after those that are done, as the run's order has them."""
    step = run.step + 1
    sequences = run.rows.sequences_of(run.order.rows_of(step))
    return Taken(run.rows, sequences, run.order.rows_before(step + 1) / run.spec.rows_per_epoch)


def train_step(run: Run, taken: Taken) -> None:
    started, config, world = time.monotonic(), run.config, run.world
    run.step += 1
    with step_randomness(config["seed"], run.step, world.rank):
        outcome = run.passes.train(taken.rows, taken.sequences, run.step, run.order.steps, run.optimizer)
    totals, bins, small_bins = outcome.sums.totals(world.by_rows)
    divisor = divisor_of(run, totals)
    square = world.sum(run.optimizer.square_norm())
    norm = math.sqrt(square.item()) / abs(divisor)
    told = outcome.told
    loss = totals["loss_scaled"] / divisor if told is None or told.loss is None else told.loss / divisor
    rate = learning_rate(
        run.step,
        run.order.steps,
        peak=config["learning_rate"],
        warmup=warmup_steps(run.order.steps, config),
        shape=config["lr_scheduler"],
        options=config.get("lr_scheduler_kwargs"),
    )
    aux = {} if outcome.aux_loss is None else {"aux_loss": outcome.aux_loss.item()}
    _check_reference(outcome, loss, config["engine"]["dtype"])
    if math.isfinite(loss) and math.isfinite(norm):
        clip = min(1.0, config["max_grad_norm"] / (norm + 1e-6)) if config["max_grad_norm"] > 0 else 1.0
        run.optimizer.update(rate, clip / divisor)
        if run.average is not None:
            run.average.take()
    else:
        _not_finite(run, outcome.not_finite_rows(), loss, norm)
    run.optimizer.clear()
    return_free_memory(world)
    run.tokens += round(totals["tokens"])
    run.supervised_tokens += round(totals["supervised"])
    seconds = time.monotonic() - started
    extra = (
        {"kl_ref": totals["kl_ref"] / max(1.0, totals["supervised"])} if "kl_ref" in run.passes.objective.inputs else {}
    )
    run.events.write(
        "step",
        run.step,
        loss=loss,
        **means(totals, run.rows.paired),
        grad_norm=norm,
        learning_rate=rate,
        epoch=taken.epoch,
        tokens=run.tokens,
        supervised_tokens=run.supervised_tokens,
        tokens_per_second=totals["tokens"] / seconds,
        memory_bytes=int(world.largest(memory_bytes(world))),
        **extra,
        **aux,
        **fields_of(told, run.rows.paired, run.rows.scored),
    )
    run.events.write("histogram", run.step, name="train", bins=bins, small_bins=small_bins)


def _check_reference(outcome: StepOutcome, loss: float, dtype: str) -> None:
    """Before anything is changed."""
    expected, apart = outcome.loss_at_reference, outcome.apart_from_reference
    problem = None if expected is None else mismatch(expected, loss, apart, rounds=dtype != "fp32")
    check(problem is None, str(problem))


def _not_finite(run: Run, mine: list[str], loss: float, norm: float) -> None:
    rows = [row for part in run.world.by_rows.gather_objects(mine) for row in part]
    named = ", ".join(rows[:8]) + (f" and {len(rows) - 8} more" if len(rows) > 8 else "")
    what = f"step {run.step}: the loss is {loss}, the gradient norm {norm}"
    where = (
        f"; rows {named}"
        if rows
        else "; every row's own loss is finite, so it arose in the gradient: lower learning_rate"
    )
    if run.config["on_nonfinite"] == "stop":
        raise TrainingStopped(
            f"{what}{where}. The last checkpoint is good; on_nonfinite: skip would leave such steps out"
        )
    run.skipped += 1
    run.events.write(
        "warning",
        run.step,
        code="skipped-step",
        message=what + where,
        hint=f"{run.skipped} steps left out so far; lower learning_rate if there are many",
    )
