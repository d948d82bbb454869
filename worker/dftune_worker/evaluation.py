"""What held-out rows say of the model, at the start, every eval_steps and at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .averages import averaged
from .best_step import after_evaluation, metric_in, watches_best
from .preferences import fields_of
from .statistics import means

if TYPE_CHECKING:
    from .run import Run
    from .spec import EvalSet

BROUGHT = ("row_weight", "advantage", "source")  # by training rows alone


def divisor_of(run: Run, totals: dict[str, float]) -> float:
    """What remains to divide by. Without any weight there is no gradient either: dividing by one leaves it so."""
    return (totals["weight_of_rows"] or 1.0) if run.passes.objective.normalization == "weights" else 1.0


def evaluate(run: Run) -> list[dict]:
    """Of the average of the weights, where one is kept. Returns the fields of the `eval` events, on every rank."""
    with averaged(run.average):
        return [_evaluated(run, entry) for entry in run.spec.eval]


def judge(run: Run, evaluations: list[dict]) -> bool:
    """Takes note of what the config watches in them; whether this is the best evaluation so far."""
    if not watches_best(run.config):
        return False
    before, value = run.best, metric_in(evaluations, run.config)
    mine = after_evaluation(before, run.step, value, run.config)
    run.best = run.world.from_first(lambda: mine)  # rounding must not part the ranks
    return run.best is not None and run.best.step == run.step


def _evaluated(run: Run, entry: EvalSet) -> dict:
    rows = run.spec.rows_of(entry.prepared, entry.row_columns)
    if entry.name in run.references:
        run.references[entry.name].bring_to(rows)
    brought = run.passes.objective.inputs & set(BROUGHT)
    if "pair_sign" in rows.column_names or not brought <= set(rows.column_names):
        measured, told = run.passes.measure_preferences(rows, run.config["batch_size"])
        loss, more = told.loss, fields_of(told, rows.paired, rows.scored)
        totals, bins, small_bins = measured.totals(run.world.by_rows)
    else:
        measured = run.passes.measure(rows, run.step, run.order.steps)
        totals, bins, small_bins = measured.totals(run.world.by_rows)
        loss, more = totals["loss_scaled"] / divisor_of(run, totals), {}
    numbers = means(totals)
    fields = {
        "name": entry.name,
        "nll": numbers["nll"],
        **({} if loss is None else {"loss": loss}),
        "mean_p": numbers["mean_p"],
        **more,
        "supervised_tokens": round(totals["supervised"]),
    }
    run.nll_by_step.setdefault(run.step, {})[entry.name] = numbers["nll"]
    run.events.write("eval", run.step, **fields)
    run.events.write("histogram", run.step, name=entry.name, bins=bins, small_bins=small_bins)
    return fields
