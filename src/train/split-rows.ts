import { packRows } from "../data/packing.ts"
import { groupTokens } from "../models/index.ts"
import type { StepRow } from "./batches.ts"

export interface SplitOptions {
  /** Tokens that the rows of a micro-batch may have together; a longer row is alone. */
  readonly capacity: number
  /** Several rows in a micro-batch; otherwise each row is its own. */
  readonly packing: boolean
  /**
   * What belongs together is computed together: both sides of a pair in one micro-batch, what they
   * begin with alike once, and what couples a micro-batch's tokens while it trains. Runs that began
   * before there was this go on without.
   */
  readonly together?: boolean
}

/** Rows of a step that stand side by side, by their places in it. */
export interface RowGroup {
  readonly rows: readonly number[]
  /** Leading tokens that all have alike and that are computed once. */
  readonly shared: number
  /** Of the group in a pack. */
  readonly tokens: number
}

const longest = (lengths: ArrayLike<number>) => {
  let most = 0
  for (let i = 0; i < lengths.length; i++) most = Math.max(most, lengths[i]!)
  return most
}

/** Which rows of a step go together: positions in `lengths`, one list a micro-batch. */
export function splitRows(
  lengths: readonly number[],
  { capacity, packing }: SplitOptions,
): number[][] {
  if (!packing) return lengths.map((_, row) => [row])
  return packRows(lengths, Math.max(capacity, longest(lengths)))
}

/** The same by the rows themselves, of which some share what they begin with. */
export function splitGroups(
  rows: readonly Pick<StepRow, "tokenIds" | "paired">[],
  options: SplitOptions,
): RowGroup[][] {
  const { capacity, packing, together = false } = options
  const room = Math.max(capacity, longest(rows.map(({ tokenIds }) => tokenIds.length)))
  const groups = rows.flatMap((row, i): RowGroup[] => {
    const isOfTwo = row.paired === true && rows[i ^ 1]?.paired === true
    const pair = packing && together && isOfTwo ? pairGroup(rows, i >> 1) : undefined
    if (pair && pair.tokens <= room) return i % 2 === 0 ? [pair] : []
    return [{ rows: [i], shared: 0, tokens: row.tokenIds.length }]
  })
  if (!packing) return groups.map((group) => [group])
  const bins = packRows(
    groups.map(({ tokens }) => tokens),
    room,
  )
  return bins.map((bin) => bin.map((i) => groups[i]!))
}

/** The k-th pair of a step. */
function pairGroup(rows: readonly Pick<StepRow, "tokenIds">[], k: number): RowGroup {
  const [chosen, rejected] = [rows[2 * k]!.tokenIds, rows[2 * k + 1]!.tokenIds]
  const shared = sharedTokens(chosen, rejected)
  return {
    rows: [2 * k, 2 * k + 1],
    shared,
    tokens: groupTokens([chosen.length, rejected.length], shared),
  }
}

/**
 * Scores of attention that cost as much as the rest of a layer for one token: twice its weights,
 * some 12 C^2, beside 4 C for a score. Of the smallest models that are trained, C = 576.
 */
const SCORES_A_TOKEN = 3000

/**
 * How many leading tokens of two sequences are computed once. The second's own tokens then pass
 * over the first's in the same range of keys: where that costs more than is saved, none.
 */
export function sharedTokens(a: Int32Array, b: Int32Array): number {
  const most = Math.min(a.length, b.length) - 1
  let alike = 0
  while (alike < most && a[alike] === b[alike]) alike++
  const scores = (a.length - alike) * (b.length - alike)
  return scores <= SCORES_A_TOKEN * alike ? alike : 0
}

/**
 * The most tokens that a micro-batch of `splitRows` can have, whichever `rows` sequences of these
 * make a step.
 */
export function largestSplit(
  lengths: ArrayLike<number>,
  rows: number,
  { capacity, packing }: SplitOptions,
): number {
  const most = Math.max(1, longest(lengths))
  return Math.min(packing ? Math.max(capacity, most) : most, rows * most)
}
