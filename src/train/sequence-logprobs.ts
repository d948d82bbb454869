import type { Decoder } from "../models/index.ts"
import type { StepRow } from "./batches.ts"
import { stepBatch } from "./micro-batches.ts"
import { CROSS_ENTROPY } from "./objective-head.ts"
import type { SplitOptions } from "./split-rows.ts"

export interface MeasureOptions {
  readonly split: SplitOptions
  /** Without the adapter: the model under it. */
  readonly adapter?: boolean
  readonly signal?: AbortSignal | undefined
}

/** By row: the log-probability of each of its supervised tokens, nats. */
export async function sequenceLogprobs(
  decoder: Decoder,
  rows: readonly StepRow[],
  { split, adapter = true, signal }: MeasureOptions,
): Promise<Float32Array[]> {
  const found: Float32Array[] = rows.map(() => new Float32Array(0))
  const bare = rows.map((row) => ({ ...row, columns: {} }))
  const { microBatches } = stepBatch(bare, { ...split, normalization: "tokens" })
  for (const { pack, sequences } of microBatches) {
    signal?.throwIfAborted()
    if (pack.labels.length === 0) continue
    const { logp } = await decoder.evaluate(pack, CROSS_ENTROPY, {}, { adapter })
    let start = 0
    while (start < logp.length) {
      const row = sequences[start]!
      let end = start
      while (end < logp.length && sequences[end] === row) end++
      found[row] = logp.slice(start, end)
      start = end
    }
  }
  return found
}

/** Their sums, in float64. */
export function sums(logprobs: readonly Float32Array[]): number[] {
  return logprobs.map((values) => values.reduce((sum, value) => sum + value, 0))
}
