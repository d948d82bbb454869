"""At the end of a run in bfloat16: its evaluation once more in float32, as src/train/float32-evaluation.ts has it.

The weights are those in memory, the float32 masters, not as `model/` rounds them, so only the precision of what is
computed differs. `nll_gap` is how far the NLL in bfloat16 is above.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from .expression import Objective
from .loading import load_again
from .memory import free_bytes
from .passes import Passes
from .statistics import means

if TYPE_CHECKING:
    from .run import Run

CROSS_ENTROPY = {
    "version": 1,
    "name": "sft",
    "normalization": "tokens",
    "nodes": [{"op": "input", "name": "logp"}, {"op": "neg", "args": [0]}],
    "output": 1,
}
ROOM = 1.25
"""Of the weights' bytes: they, and what an evaluation takes beside them."""


def evaluate_in_float32(run: Run, measured_at: int) -> None:
    """Each eval set as `fp32/NAME`, beside what the run said of these weights after the step `measured_at`. The run's own
    model and optimizer are of no use afterwards: their memory is the other model's."""
    if run.spec.engine["dtype"] != "bf16" or not run.spec.eval or run.model.gives_scores:
        return
    run.optimizer.forget()
    if (missing := _missing_bytes(run)) > 0:
        run.events.write(
            "warning",
            run.step,
            code="no-float32-evaluation",
            message=f"the weights in float32 need {missing / 1e9:.1f} GB more than is free, so the evaluation was not made again in float32",
            hint="dftune eval MODEL --data FILE --dtype fp32 measures the result on the CPU",
        )
        return
    told = run.nll_by_step.get(measured_at, {})
    model = load_again(run.spec, run.world, run.model, run.optimizer.master)
    passes = Passes(model, None, Objective(CROSS_ENTROPY), run.world, run.config, activation_budget=0)
    for entry in run.spec.eval:
        rows = run.spec.rows_of(entry.prepared, entry.row_columns)
        passes.paired = rows.paired
        totals, _, _ = passes.measure(rows, run.step, run.order.steps).totals(run.world.by_rows)
        numbers = means(totals)
        gap = {"nll_gap": told[entry.name] - numbers["nll"]} if entry.name in told else {}
        run.events.write(
            "eval",
            run.step,
            name=f"fp32/{entry.name}",
            nll=numbers["nll"],
            mean_p=numbers["mean_p"],
            supervised_tokens=round(totals["supervised"]),
            **gap,
        )


def _missing_bytes(run: Run) -> float:
    """More than 0 where float32 weights do not fit beside what is held; the same on every rank."""
    world = run.world
    needed = ROOM * 4 * sum(p.numel() for p in run.model.parameters()) / world.size
    if world.device.type == "cuda":
        torch.cuda.empty_cache()
    free = free_bytes(world)
    return world.largest(0.0 if free is None else needed - free)
