import { packRows } from "../data/packing.ts"
import type { PreparedRow } from "../data/prepared.ts"
import { type Pack, packSequences } from "../models/index.ts"
import type { Normalization } from "../objectives/index.ts"

/** Some rows of an optimizer step side by side, with what the objective wants to know of their tokens. */
export interface MicroBatch {
  readonly pack: Pack
  readonly rows: readonly PreparedRow[]
  /** [S] class of each supervised token. */
  readonly tokenClass: Uint8Array
  /** [S] which row of the step each supervised token is in. */
  readonly sequences: Int32Array
  /** [S] what each token's loss is multiplied with in the sum. */
  readonly scale: Float32Array
}

export interface StepBatch {
  readonly microBatches: readonly MicroBatch[]
  readonly tokens: number
  readonly supervisedTokens: number
  /** Sequences with at least one supervised token. */
  readonly sequences: number
}

export interface StepBatchOptions {
  /** Tokens that the rows of a micro-batch may have together; a longer row is alone. */
  readonly capacity: number
  /** Several rows in a micro-batch; otherwise each row is its own. */
  readonly packing: boolean
  readonly normalization: Normalization
}

function supervisedCount({ lossMask }: PreparedRow): number {
  let count = 0
  for (let i = 1; i < lossMask.length; i++) count += lossMask[i]!
  return count
}

function microBatch(
  rows: readonly PreparedRow[],
  indices: readonly number[],
  normalization: Normalization,
): MicroBatch {
  const counts = rows.map(supervisedCount)
  const total = counts.reduce((sum, count) => sum + count, 0)
  const tokenClass = new Uint8Array(total)
  const sequences = new Int32Array(total)
  const scale = new Float32Array(total).fill(1)
  let token = 0
  rows.forEach((row, r) => {
    for (let i = 1; i < row.lossMask.length; i++) {
      if (!row.lossMask[i]) continue
      tokenClass[token] = row.tokenClass[i]!
      sequences[token] = indices[r]!
      if (normalization === "sequences") scale[token] = 1 / counts[r]!
      if (normalization === "paper") scale[token] = 1 / total
      token += 1
    }
  })
  return { pack: packSequences(rows), rows, tokenClass, sequences, scale }
}

/**
 * The rows of one optimizer step in micro-batches. How they are split changes no gradient (except
 * under `paper`, whose point that is): losses are summed with `scale` and divided once.
 */
export function stepBatch(
  rows: readonly PreparedRow[],
  { capacity, packing, normalization }: StepBatchOptions,
): StepBatch {
  const lengths = rows.map((row) => row.tokenIds.length)
  const longest = lengths.reduce((most, length) => Math.max(most, length), 0)
  const bins = packing ? packRows(lengths, Math.max(capacity, longest)) : rows.map((_, i) => [i])
  const microBatches = bins.map((bin) =>
    microBatch(
      bin.map((i) => rows[i]!),
      bin,
      normalization,
    ),
  )
  return {
    microBatches,
    tokens: lengths.reduce((sum, length) => sum + length, 0),
    supervisedTokens: microBatches.reduce((sum, { pack }) => sum + pack.labels.length, 0),
    sequences: rows.filter((row) => supervisedCount(row) > 0).length,
  }
}

/** What the step's scaled sum is divided by; `weights` is the sum of the tokens' weights. */
export function divisor(
  normalization: Normalization,
  { supervisedTokens, sequences }: StepBatch,
  weights: number,
): number {
  switch (normalization) {
    case "tokens":
      return supervisedTokens
    case "sequences":
      return sequences
    case "weights":
      return weights
    case "paper":
      return 1
  }
}
