import type { Prepared, PreparedRow } from "../data/prepared.ts"
import type { Decoder, Reference } from "../models/index.ts"
import type { EventBody } from "../run/events.ts"
import { type MicroBatch, type StepBatchOptions, stepBatch } from "./micro-batches.ts"
import { CROSS_ENTROPY, type ObjectiveHead } from "./objective-head.ts"
import {
  addStatistics,
  histogramFields,
  NO_TOKENS,
  statisticsFields,
  statisticsOf,
  type TokenStatistics,
} from "./token-statistics.ts"

export interface EvalSet {
  readonly name: string
  readonly rows: Prepared
}

export interface EvaluationParts {
  readonly decoder: Decoder
  readonly head: ObjectiveHead
  readonly evalSets: readonly EvalSet[]
  /** Of the whole run. */
  readonly steps: number
  readonly batch: StepBatchOptions
  readonly reference?: (microBatch: MicroBatch) => Promise<Reference>
  readonly signal?: AbortSignal
}

/** Rows read at once. */
const ROWS = 64

/** Each eval set's cross-entropy, the objective's value there, and its histogram. */
export async function* evaluations(
  parts: EvaluationParts,
  step: number,
): AsyncGenerator<EventBody> {
  const { head, evalSets, signal } = parts
  // What couples the tokens of a training step, or compares with it, has no meaning here.
  const own = !head.firstPass && !head.needsOldLogprobs
  for (const { name, rows } of evalSets) {
    const statistics = await evaluateRows(parts, rows, { step, own })
    if (signal?.aborted) return
    const { nll, loss, mean_p } = statisticsFields(statistics)
    yield {
      type: "eval",
      step,
      name,
      nll,
      mean_p,
      ...(own ? { loss } : {}),
      supervised_tokens: statistics.count,
    }
    yield { type: "histogram", step, name, ...histogramFields(statistics) }
  }
}

/** Of all rows; of some only when `signal` asks to stop. */
async function evaluateRows(
  { decoder, head, steps, batch, reference, signal }: EvaluationParts,
  rows: Prepared,
  { step, own }: { readonly step: number; readonly own: boolean },
): Promise<TokenStatistics> {
  const scalars = { progress: step / steps, step: Math.max(1, step), steps }
  const settings = own ? head.settings : CROSS_ENTROPY
  let statistics = NO_TOKENS
  for (const microBatch of rowBatches(rows, batch)) {
    if (signal?.aborted) break
    const outputs = await decoder.evaluate(microBatch.pack, settings, {
      scalars,
      columns: microBatch.columns,
      ...(settings.reference ? { reference: await reference!(microBatch) } : {}),
    })
    statistics = addStatistics(statistics, statisticsOf(outputs, microBatch.columns.token_class))
  }
  return statistics
}

/** All rows of a set in micro-batches. */
export function* rowBatches(rows: Prepared, options: StepBatchOptions): Generator<MicroBatch> {
  for (let start = 0; start < rows.rows; start += ROWS) {
    const length = Math.min(ROWS, rows.rows - start)
    const part: PreparedRow[] = Array.from({ length }, (_, i) => rows.row(start + i))
    yield* stepBatch(part, options).microBatches
  }
}
