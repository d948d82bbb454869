import { mergeAdapter } from "../models/adapters/merge.ts"
import { openDevice } from "../runtime/node.ts"
import type { StepRow } from "../train/batches.ts"
import { stepBatch } from "../train/micro-batches.ts"
import { adapterWeights } from "../train/model-weights.ts"
import type { RunPlan } from "../train/plan.ts"

/** What the comparisons try; a test puts a fault into one of them. */
export interface Tried {
  readonly openDevice: typeof openDevice
  readonly stepBatch: typeof stepBatch
  readonly adapterWeights: typeof adapterWeights
  readonly mergeAdapter: typeof mergeAdapter
}

export const AS_BUILT: Tried = { openDevice, stepBatch, adapterWeights, mergeAdapter }

/** The run that is checked, its first rows, and the parts that are tried on them. */
export interface Subject {
  readonly plan: RunPlan
  readonly rows: readonly StepRow[]
  readonly tried: Tried
  readonly signal?: AbortSignal | undefined
}

/** As many as show a fault of packing and splitting; few enough to take seconds. */
const MOST_ROWS = 6
const MOST_TOKENS = 768
const LEAST_ROWS = 2

/** The first rows of the run's order; of pairs both sides. */
export function firstRows({ batches, order }: Pick<RunPlan, "batches" | "order">): StepRow[] {
  const found: StepRow[] = []
  let tokens = 0
  for (let step = 0; step < order.steps; step++) {
    for (const index of order.stepRows(step)) {
      const own = batches.sequences(index)
      tokens += own.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0)
      const enough = found.length >= MOST_ROWS || tokens > MOST_TOKENS
      if (enough && found.length >= LEAST_ROWS) return found
      found.push(...own)
    }
  }
  return found
}
