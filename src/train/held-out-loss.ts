import type { Prepared, PreparedRow } from "../data/prepared.ts"
import type { Decoder, Reference, TokenOutputs } from "../models/index.ts"
import { progressMeter } from "../report/progress.ts"
import type { EventBody } from "../run/events.ts"
import type { FixedBatches } from "./batches.ts"
import { joinedOutputs, scaledSum } from "./forward-backward.ts"
import { klStep } from "./kl-step.ts"
import { stepColumns } from "./loss-inputs.ts"
import { divisor, type MicroBatch, type StepBatchOptions, stepBatch } from "./micro-batches.ts"
import { CROSS_ENTROPY, type ObjectiveHead, SCORES } from "./objective-head.ts"
import { scoreStatistics } from "./score-statistics.ts"
import { SourceLosses, type SourceNames } from "./source-losses.ts"
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
  readonly rows: Pick<Prepared, "rows" | "row">
  /**
   * All its rows once, as steps of the objective: of pairs and labels, whose loss couples tokens.
   */
  readonly batches?: FixedBatches
}

export interface EvaluationParts {
  readonly decoder: Pick<Decoder, "evaluate" | "shape">
  readonly head: ObjectiveHead
  readonly evalSets: readonly EvalSet[]
  /** Of the whole run. */
  readonly steps: number
  readonly batch: StepBatchOptions
  /** Rows are pairs: margins are theirs. */
  readonly paired: boolean
  /** Of the run's files, where losses are told by source. */
  readonly sourceNames?: SourceNames
  readonly reference?: (microBatch: MicroBatch) => Promise<Reference>
  readonly onProgress?: (message: string) => void
  readonly signal?: AbortSignal
}

/** Rows read at once. */
const ROWS = 64

/** Whether what the objective makes of a token stands apart from the rest of a training step. */
export function standsAlone({ firstPass, settings }: ObjectiveHead): boolean {
  return !firstPass && (settings.columns ?? []).every((column) => column === "token_class")
}

/**
 * What the head says of a micro-batch's supervised tokens after `step` steps: `loss` and `weight`
 * are the objective's where that has a meaning outside a training step, else cross-entropy's.
 */
export async function headOutputs(
  {
    decoder,
    head,
    steps,
    reference,
  }: Pick<EvaluationParts, "decoder" | "head" | "steps"> & {
    readonly reference: EvaluationParts["reference"] | undefined
  },
  { pack, columns, ...rest }: MicroBatch,
  step: number,
): Promise<TokenOutputs> {
  const settings = standsAlone(head) ? head.settings : CROSS_ENTROPY
  return decoder.evaluate(pack, settings, {
    scalars: { progress: step / steps, step: Math.max(1, step), steps },
    columns,
    ...(settings.reference ? { reference: await reference!({ pack, columns, ...rest }) } : {}),
  })
}

/** Each eval set's cross-entropy, the objective's value there, and its histogram. */
export async function* evaluations(
  parts: EvaluationParts,
  step: number,
): AsyncGenerator<EventBody> {
  const { head, evalSets, signal } = parts
  const own = standsAlone(head)
  for (const { name, rows, batches } of evalSets) {
    if (batches) {
      yield* evaluatePreferences(parts, { name, batches }, step)
      continue
    }
    const sources = parts.sourceNames && new SourceLosses(parts.sourceNames)
    const meter = progressMeter(`evaluating ${name}`, { unit: "rows" })
    const onRows = (done: number) => parts.onProgress?.(meter(done, rows.rows))
    const statistics = await evaluateRows({ ...parts, onRows }, rows, step, sources)
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
      ...(sources?.isSeveral() ? sources.fields() : {}),
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
  let [sequences, supervised] = [0, 0]
  const { scores } = decoder.shape
  for (let part = 1; part <= batches.steps; part++) {
    if (signal?.aborted) return
    const { rows, mismatched } = batches.batch(part)
    const batch = stepBatch(rows, options)
    const kl = mismatched ? { kl_step: await klStep(decoder, mismatched, { split: options }) } : {}
    const outputs: TokenOutputs[] = []
    for (const { pack, columns } of batch.microBatches) {
      const found = await decoder.evaluate(pack, scores ? SCORES : CROSS_ENTROPY)
      outputs.push(found)
      if (scores) continue
      const sign = paired ? columns.pair_sign : undefined
      statistics = addStatistics(statistics, statisticsOf(found, columns.token_class, sign))
    }
    supervised += batch.supervisedTokens
    const found = stepColumns(batch.microBatches, outputs, { ...run, ...kl })
    if (scores) {
      statistics = addStatistics(statistics, scoreStatistics(found, joinedOutputs(outputs)))
    }
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
    supervised_tokens: supervised,
  }
  yield { type: "histogram", step, name, ...histogramFields(statistics) }
}

/** Of all rows; of some only when `signal` asks to stop. */
async function evaluateRows(
  parts: EvaluationParts & { readonly onRows: (done: number) => void },
  rows: EvalSet["rows"],
  step: number,
  sources: SourceLosses | undefined,
): Promise<TokenStatistics> {
  const { decoder, head, steps, batch, reference, signal, onRows } = parts
  let statistics = NO_TOKENS
  let done = 0
  for (const microBatch of rowBatches(rows, batch)) {
    if (signal?.aborted) break
    const outputs = await headOutputs({ decoder, head, steps, reference }, microBatch, step)
    statistics = addStatistics(statistics, statisticsOf(outputs, microBatch.columns.token_class))
    sources?.add(microBatch, outputs)
    done += microBatch.rows.length
    onRows(done)
  }
  return statistics
}

/** All rows of a set in micro-batches. */
function* rowBatches(rows: EvalSet["rows"], options: StepBatchOptions): Generator<MicroBatch> {
  for (let start = 0; start < rows.rows; start += ROWS) {
    const length = Math.min(ROWS, rows.rows - start)
    const part: PreparedRow[] = Array.from({ length }, (_, i) => rows.row(start + i))
    yield* stepBatch(part, options).microBatches
  }
}
