import type { Prepared, PreparedRow } from "../data/prepared.ts"
import type { Decoder, Reference, TokenOutputs } from "../models/index.ts"
import type { EventBody } from "../run/events.ts"
import type { FixedBatches } from "./batches.ts"
import { scaledSum } from "./forward-backward.ts"
import { klStep } from "./kl-step.ts"
import { stepColumns } from "./loss-inputs.ts"
import { divisor, type MicroBatch, type StepBatchOptions, stepBatch } from "./micro-batches.ts"
import { CROSS_ENTROPY, type ObjectiveHead } from "./objective-head.ts"
import { type Outcome, outcomesOf, pairFields } from "./step-outcomes.ts"
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
  /** All its rows once, as steps of the objective: of pairs and labels, whose loss couples tokens. */
  readonly batches?: FixedBatches
}

export interface EvaluationParts {
  readonly decoder: Decoder
  readonly head: ObjectiveHead
  readonly evalSets: readonly EvalSet[]
  /** Of the whole run. */
  readonly steps: number
  readonly batch: StepBatchOptions
  /** Rows are pairs: margins are theirs. */
  readonly paired: boolean
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
  const fed = head.settings.columns ?? []
  const own = !head.firstPass && fed.every((column) => column === "token_class")
  for (const { name, rows, batches } of evalSets) {
    if (batches) {
      yield* evaluatePreferences(parts, { name, batches }, step)
      continue
    }
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

/** The objective itself, batch by batch as in training, and how the two sides fare. */
async function* evaluatePreferences(
  { decoder, head, steps, paired, batch: options, signal }: EvaluationParts,
  { name, batches }: { readonly name: string; readonly batches: FixedBatches },
  step: number,
): AsyncGenerator<EventBody> {
  let statistics = NO_TOKENS
  const total = { loss: 0, divisor: 0 }
  const outcomes: Outcome[] = []
  const run = { progress: step / steps, step: Math.max(1, step), steps }
  let sequences = 0
  for (let part = 1; part <= batches.steps; part++) {
    if (signal?.aborted) return
    const { rows, mismatched } = batches.batch(part)
    const batch = stepBatch(rows, options)
    const kl = mismatched ? { kl_step: await klStep(decoder, mismatched, { split: options }) } : {}
    const outputs: TokenOutputs[] = []
    for (const { pack, columns } of batch.microBatches) {
      const found = await decoder.evaluate(pack, CROSS_ENTROPY)
      outputs.push(found)
      statistics = addStatistics(statistics, statisticsOf(found, columns.token_class))
    }
    const found = stepColumns(batch.microBatches, outputs, { ...run, ...kl })
    if (head.value) total.loss += scaledSum(head.value(found), batch.microBatches)
    total.divisor += divisor(options.normalization, batch, 0)
    const own = outcomesOf(found, head.measured(found))
    outcomes.push(...own.map((one) => ({ ...one, sequence: sequences + one.sequence })))
    sequences += rows.length
  }
  const { nll, mean_p } = statisticsFields(statistics)
  yield {
    type: "eval",
    step,
    name,
    nll,
    mean_p,
    ...(head.value ? { loss: total.loss / total.divisor } : {}),
    ...pairFields(outcomes, paired),
    supervised_tokens: statistics.count,
  }
  yield { type: "histogram", step, name, ...histogramFields(statistics) }
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
