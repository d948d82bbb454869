import { assert } from "../errors.ts"
import { type Pack, packGroups, supervisedTokens } from "../models/index.ts"
import type { Normalization } from "../objectives/index.ts"
import type { StepRow } from "./batches.ts"
import { type RowGroup, type SplitOptions, splitGroups } from "./split-rows.ts"

/** Numbers per supervised token, by the objective's input. */
export type Columns = Readonly<Record<string, Float32Array>>

/**
 * Some rows of an optimizer step side by side, with what the objective wants to know of their
 * tokens.
 */
export interface MicroBatch {
  readonly pack: Pack
  readonly rows: readonly StepRow[]
  /** [S] each: `token_class`, and what the rows brought with them. */
  readonly columns: Columns & { readonly token_class: Float32Array }
  /** [S] which row of the step each supervised token is in. */
  readonly sequences: Int32Array
  /** [S] what each token's loss is multiplied with in the sum. */
  readonly scale: Float32Array
}

export interface StepBatch {
  readonly microBatches: readonly MicroBatch[]
  /** As the rows were split (`SplitOptions`). */
  readonly together: boolean
  /** Of all rows, each whole. */
  readonly tokens: number
  readonly supervisedTokens: number
  /** What the step may be divided by: rows count as often as their weight says. */
  readonly counts: {
    readonly tokens: number
    /** Sequences with at least one supervised token. */
    readonly sequences: number
    /** Pairs with at least one: rows 2k and 2k + 1 of a step are a pair. */
    readonly pairs: number
    readonly maxTokens: number
  }
}

export interface StepBatchOptions extends SplitOptions {
  readonly normalization: Normalization
  /** The longest that a sampled answer may be: what `max_tokens` divides by. */
  readonly maxTokens?: number
}

const supervisedCount = (row: StepRow): number => supervisedTokens(row).length

function microBatch(
  all: readonly StepRow[],
  groups: readonly RowGroup[],
  normalization: Normalization,
): MicroBatch {
  const indices = groups.flatMap((group) => group.rows)
  const rows = indices.map((i) => all[i]!)
  const counts = rows.map(supervisedCount)
  const total = counts.reduce((sum, count) => sum + count, 0)
  const tokenClass = new Float32Array(total)
  const sequences = new Int32Array(total)
  const scale = new Float32Array(total)
  const weighed = rows.reduce((sum, { weight }, r) => sum + weight * counts[r]!, 0)
  let token = 0
  rows.forEach((row, r) => {
    for (const i of supervisedTokens(row)) {
      tokenClass[token] = row.tokenClass[i]!
      sequences[token] = indices[r]!
      scale[token] = row.weight
      if (normalization === "sequences") scale[token] = row.weight / counts[r]!
      if (normalization === "paper") scale[token] = row.weight / weighed
      token += 1
    }
  })
  const columns = { ...rowColumns(rows, counts, total), token_class: tokenClass }
  const pack = packGroups(
    groups.map(({ rows, shared }) => ({ sequences: rows.map((i) => all[i]!), shared })),
  )
  return { pack, rows, columns, sequences, scale }
}

/** What the rows brought, side by side. */
function rowColumns(rows: readonly StepRow[], counts: readonly number[], total: number): Columns {
  const names = Object.keys(rows[0]?.columns ?? {})
  const columns = Object.fromEntries(names.map((name) => [name, new Float32Array(total)]))
  let start = 0
  rows.forEach((row, r) => {
    const end = start + counts[r]!
    for (const name of names) {
      const values = row.columns?.[name]
      assert(values !== undefined, `column ${name}: ${row.source}:${row.line} has none`)
      if (typeof values === "number") columns[name]!.fill(values, start, end)
      else {
        assert(values.length === counts[r], `column ${name}: one number a supervised token`)
        columns[name]!.set(values, start)
      }
    }
    start = end
  })
  return columns
}

/**
 * The rows of one optimizer step in micro-batches. How they are split changes no gradient (except
 * under `paper`, whose point that is): losses are summed with `scale` and divided once.
 */
export function stepBatch(
  rows: readonly StepRow[],
  { normalization, maxTokens = 1, ...split }: StepBatchOptions,
): StepBatch {
  const lengths = rows.map((row) => row.tokenIds.length)
  const microBatches = splitGroups(rows, split).map((groups) =>
    microBatch(rows, groups, normalization),
  )
  return {
    microBatches,
    together: split.together ?? false,
    tokens: lengths.reduce((sum, length) => sum + length, 0),
    supervisedTokens: microBatches.reduce((sum, { pack }) => sum + pack.labels.length, 0),
    counts: { ...weighedCounts(rows), maxTokens },
  }
}

function weighedCounts(rows: readonly StepRow[]) {
  let [tokens, sequences] = [0, 0]
  const pairs = new Map<number, number>()
  rows.forEach((row, i) => {
    const count = supervisedCount(row)
    if (count === 0) return
    tokens += row.weight * count
    sequences += row.weight
    pairs.set(i >> 1, row.weight)
  })
  return { tokens, sequences, pairs: [...pairs.values()].reduce((sum, weight) => sum + weight, 0) }
}

/** The same with one more column: the numbers of all micro-batches one after the other. */
export function withColumn(batch: StepBatch, name: string, values: Float32Array): StepBatch {
  let start = 0
  const microBatches = batch.microBatches.map((one) => {
    const end = start + one.pack.labels.length
    const columns = { ...one.columns, [name]: values.slice(start, end) }
    start = end
    return { ...one, columns }
  })
  assert(start === values.length, `column ${name}: ${values.length} numbers for ${start} tokens`)
  return { ...batch, microBatches }
}

/** What the step's scaled sum is divided by; `weights` is the scaled sum of the tokens' weights. */
export function divisor(
  normalization: Normalization,
  { counts: { tokens, sequences, pairs, maxTokens } }: StepBatch,
  weights: number,
): number {
  switch (normalization) {
    case "tokens":
      return tokens
    case "sequences":
      return sequences
    case "weights":
      return weights
    case "paper":
      return 1
    case "pairs":
      return pairs
    case "sequence_sums":
      return sequences
    case "max_tokens":
      return sequences * maxTokens
  }
}
