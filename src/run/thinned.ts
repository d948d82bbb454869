/** A series of any length as at most `MOST` means of equally many neighbours each. */
const MOST = 128

export interface Thinned {
  /** Values in a mean. */
  every: number
  means: number[]
  /** Of the mean that is not full yet. */
  sum: number
  count: number
}

export const emptySeries = (): Thinned => ({ every: 1, means: [], sum: 0, count: 0 })

export function addValue(series: Thinned, value: number): void {
  series.sum += value
  if (++series.count < series.every) return
  series.means.push(series.sum / series.count)
  series.sum = series.count = 0
  if (series.means.length < MOST) return
  series.means = pairs(series.means).map(([a, b]) => (a + b) / 2)
  series.every *= 2
}

/** All means, that of the last few values too. */
export const shownMeans = ({ means, sum, count }: Thinned): number[] =>
  count === 0 ? means : [...means, sum / count]

/** Histograms over the steps: neighbours are summed when there are too many. */
export interface ThinnedHistograms {
  every: number
  /** Of the last histogram in each column. */
  steps: number[]
  /** Counts of each bin, a column each. */
  counts: number[][]
  /** Histograms in the last column. */
  filled: number
}

export const emptyHistograms = (): ThinnedHistograms => ({
  ...{ every: 1, steps: [], counts: [], filled: 0 },
})

export function addHistogram(
  all: ThinnedHistograms,
  { step, counts }: { readonly step: number; readonly counts: readonly number[] },
): void {
  const last = all.counts.length - 1
  if (last < 0 || all.filled === all.every) {
    all.counts.push([...counts])
    all.steps.push(step)
    all.filled = 1
  } else {
    addTo(all.counts[last]!, counts)
    all.steps[last] = step
    all.filled++
  }
  if (all.counts.length < MOST || all.filled < all.every) return
  all.counts = pairs(all.counts).map(([a, b]) => addTo(a, b))
  all.steps = pairs(all.steps).map(([, b]) => b)
  all.every *= 2
  all.filled = all.every
}

function addTo(sums: number[], counts: readonly number[]): number[] {
  for (let i = 0; i < sums.length; i++) sums[i]! += counts[i] ?? 0
  return sums
}

/** MOST is even: nothing is left over. */
const pairs = <T>(values: readonly T[]): [T, T][] =>
  Array.from({ length: values.length >> 1 }, (_, i) => [values[2 * i]!, values[2 * i + 1]!])
