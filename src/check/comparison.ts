/** What one comparison of `dftune check` found. */
export interface Comparison {
  readonly name: string
  /** What was compared with what, in words. */
  readonly compared: string
  /** Null where it could not be made: `reason` says why. */
  readonly difference: number | null
  /** Up to here the two are the same but for rounding. */
  readonly usual: number
  readonly verdict: "usual" | "unusual" | "not made"
  /** Where the difference is, or why there is none. */
  readonly detail: string
}

export interface Found {
  readonly difference: number
  readonly detail?: string
}

/** A named comparison and how to make it. */
export interface Row {
  readonly name: string
  readonly compared: string
  readonly usual: number
}

export function judged({ name, compared, usual }: Row, found: Found): Comparison {
  const { difference, detail = "" } = found
  // Not a number is no small difference.
  const verdict = difference <= usual ? "usual" : "unusual"
  return { name, compared, usual, difference, verdict, detail }
}

export function notMade({ name, compared, usual }: Row, reason: string): Comparison {
  return { name, compared, usual, difference: null, verdict: "not made", detail: reason }
}

/** A side of the comparison ended with an error of its own. */
export function failed({ name, compared, usual }: Row, error: unknown): Comparison {
  const detail = error instanceof Error ? error.message : String(error)
  return { name, compared, usual, difference: null, verdict: "unusual", detail }
}

/** |a - b| / |b|, over all numbers: 0 where both are nothing. */
export function relative(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY
  let [error, size] = [0, 0]
  for (let i = 0; i < b.length; i++) {
    error += (a[i]! - b[i]!) ** 2
    size += b[i]! ** 2
  }
  return error === 0 ? 0 : Math.sqrt(error / size)
}

/** The largest |a - b|. */
export function furthest(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY
  let most = 0
  for (let i = 0; i < b.length; i++) {
    const apart = Math.abs(a[i]! - b[i]!)
    if (!(apart <= most)) most = apart // NaN stays
  }
  return most
}
