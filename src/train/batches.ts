/** Where the loop gets its steps from: the seam between the loop and supervised rows, pairs, or rollouts. */
import type { RunOrder } from "../data/order.ts"
import type { Prepared, PreparedRow } from "../data/prepared.ts"
import type { EventBody } from "../run/events.ts"

/** A sequence of a step, with what the objective is told of it beside its tokens. */
export interface StepRow extends PreparedRow {
  /**
   * By the objective's input (`advantage`, `ref_logp`, `pair_sign`, ...): one number for each
   * supervised token, or one for the whole row. All rows of a step have the same names.
   */
  readonly columns?: Readonly<Record<string, Float32Array | number>>
}

/** What one optimizer step trains on. */
export interface StepRows {
  readonly rows: readonly StepRow[]
  /** Inputs that are one number for the whole step, beside `progress`, `step` and `steps`. */
  readonly scalars?: Readonly<Record<string, number>>
  /** What happened while the rows came to be (a rollout): told before the step's own events. */
  readonly events?: readonly EventBody[]
}

/**
 * The steps of a run, one after the other. The loop asks for each step once, in order, beginning
 * after the step that it resumes from; whatever a source remembers between steps is its own to save.
 */
export interface BatchSource {
  readonly steps: number
  /** The rows of a step (from 1); undefined when the run was asked to stop before they were whole. */
  batch(step: number): StepRows | undefined | Promise<StepRows | undefined>
  /** Epochs done after `step` steps. */
  epochAt(step: number): number
}

/** A source whose steps are known beforehand, in any order: prepared rows. */
export interface FixedBatches extends BatchSource {
  batch(step: number): StepRows
  /** Tokens of each sequence of a step, in the order of its rows, without reading them. */
  lengths(step: number): number[]
}

/** Supervised rows in the run's order. */
export function supervisedBatches(
  rows: Pick<Prepared, "row" | "lengths">,
  order: Pick<RunOrder, "steps" | "stepRows" | "epochAt">,
): FixedBatches {
  return {
    steps: order.steps,
    batch: (step) => ({
      rows: Array.from(order.stepRows(step - 1), (index) => rows.row(index)),
    }),
    lengths: (step) => Array.from(order.stepRows(step - 1), (index) => rows.lengths[index]!),
    epochAt: (step) => order.epochAt(step),
  }
}
