"""What held-out rows say of the model, at the start, every eval_steps and at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .preferences import fields_of
from .shards import PreparedRows
from .statistics import TokenSums, means

if TYPE_CHECKING:
    from .trainer import Run

BROUGHT = ("row_weight", "advantage", "source")  # by training rows alone


def divisor_of(run: Run, totals: dict[str, float]) -> float:
    """What remains to divide by. Without any weight there is no gradient either: dividing by one leaves it so."""
    return (totals["weight_of_rows"] or 1.0) if run.passes.objective.normalization == "weights" else 1.0


def evaluate(run: Run) -> None:
    for entry in run.spec.eval:
        rows = run.spec.rows_of(entry.prepared, entry.row_columns)
        if entry.name in run.references:
            run.references[entry.name].bring_to(rows)
        brought = run.passes.objective.inputs & set(BROUGHT)
        if "pair_sign" in rows.column_names or not brought <= set(rows.column_names):
            evaluate_preferences(run, entry.name, rows)
            continue
        measured: TokenSums = run.passes.measure(rows, run.step, run.order.steps)
        totals, bins, small_bins = measured.totals(run.world)
        divisor = divisor_of(run, totals)
        numbers = means(totals)
        loss = totals["loss_scaled"] / divisor
        run.events.write(
            "eval",
            run.step,
            name=entry.name,
            nll=numbers["nll"],
            loss=loss,
            mean_p=numbers["mean_p"],
            supervised_tokens=round(totals["supervised"]),
        )
        run.events.write("histogram", run.step, name=entry.name, bins=bins, small_bins=small_bins)


def evaluate_preferences(run: Run, name: str, rows: PreparedRows) -> None:
    measured, told = run.passes.measure_preferences(rows, run.config["batch_size"])
    totals, bins, small_bins = measured.totals(run.world)
    numbers = means(totals)
    run.events.write(
        "eval",
        run.step,
        name=name,
        nll=numbers["nll"],
        mean_p=numbers["mean_p"],
        **({} if told.loss is None else {"loss": told.loss}),
        **fields_of(told, rows.paired, rows.scored),
        supervised_tokens=round(totals["supervised"]),
    )
    run.events.write("histogram", run.step, name=name, bins=bins, small_bins=small_bins)
