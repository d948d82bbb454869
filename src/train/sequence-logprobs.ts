import type { Decoder, HeadSettings } from "../models/index.ts"
import type { StepRow } from "./batches.ts"
import { stepBatch } from "./micro-batches.ts"
import { CROSS_ENTROPY } from "./objective-head.ts"
import type { SplitOptions } from "./split-rows.ts"

export interface MeasureOptions {
  readonly split: SplitOptions
  /** Without the adapter: the model under it. */
  readonly adapter?: boolean
  /** What measures them; at temperature 1 if left out. */
  readonly head?: HeadSettings
  readonly signal?: AbortSignal | undefined
}

/** What is measured of a row's supervised tokens, nats. */
export interface SequenceOutputs {
  readonly logp: Float32Array
  /** Of the next-token distribution. */
  readonly entropy: Float32Array
  /** What the value head says before each token, where the head asks it. */
  readonly value?: Float32Array
}

/** By row: the log-probability of each of its supervised tokens, nats. */
export async function sequenceLogprobs(
  decoder: Pick<Decoder, "evaluate">,
  rows: readonly StepRow[],
  options: MeasureOptions,
): Promise<Float32Array[]> {
  return (await sequenceOutputs(decoder, rows, options)).map(({ logp }) => logp)
}

/** By row; nothing is trained. */
export async function sequenceOutputs(
  decoder: Pick<Decoder, "evaluate">,
  rows: readonly StepRow[],
  { split, adapter = true, head = CROSS_ENTROPY, signal }: MeasureOptions,
): Promise<SequenceOutputs[]> {
  const none = new Float32Array(0)
  const found: SequenceOutputs[] = rows.map(() => ({ logp: none, entropy: none }))
  const bare = rows.map((row) => ({ ...row, columns: {} }))
  const { microBatches } = stepBatch(bare, { ...split, normalization: "tokens" })
  for (const { pack, sequences } of microBatches) {
    signal?.throwIfAborted()
    if (pack.labels.length === 0) continue
    const { logp, entropy, value } = await decoder.evaluate(pack, head, {}, { adapter })
    let start = 0
    while (start < logp.length) {
      const row = sequences[start]!
      let end = start
      while (end < logp.length && sequences[end] === row) end++
      found[row] = {
        logp: logp.slice(start, end),
        entropy: entropy.slice(start, end),
        ...(value ? { value: value.slice(start, end) } : {}),
      }
      start = end
    }
  }
  return found
}

/** Their sums, in float64. */
export function sums(logprobs: readonly Float32Array[]): number[] {
  return logprobs.map((values) => values.reduce((sum, value) => sum + value, 0))
}
