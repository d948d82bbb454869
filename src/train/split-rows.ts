import { packRows } from "../data/packing.ts"

export interface SplitOptions {
  /** Tokens that the rows of a micro-batch may have together; a longer row is alone. */
  readonly capacity: number
  /** Several rows in a micro-batch; otherwise each row is its own. */
  readonly packing: boolean
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

/** The most tokens that a micro-batch of `splitRows` can have, whichever `rows` sequences of these make a step. */
export function largestSplit(
  lengths: ArrayLike<number>,
  rows: number,
  { capacity, packing }: SplitOptions,
): number {
  const most = Math.max(1, longest(lengths))
  return Math.min(packing ? Math.max(capacity, most) : most, rows * most)
}
