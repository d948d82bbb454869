/** What curves are drawn over, and how they are smoothed. */

export const AXES = ["step", "tokens", "time"] as const
export type Axis = (typeof AXES)[number]

/** x of every step; time in seconds since 1970, as uPlot has it. */
export function axisValues(
  columns: ReadonlyMap<string, readonly number[]>,
  axis: Axis,
): readonly number[] {
  const values = columns.get(axis) ?? []
  return axis === "time" ? values.map((ms) => ms / 1000) : values
}

/** Exponential mean with weight `share` on what was before, corrected for its start. */
export function smoothed(values: readonly number[], share: number): (number | null)[] {
  let [sum, weight] = [0, 0]
  return values.map((value) => {
    if (!Number.isFinite(value)) return null
    sum = share * sum + (1 - share) * value
    weight = share * weight + (1 - share)
    return sum / weight
  })
}

/** The value of `xs` at the last step that is not later; for what is told by the step. */
export function at(xs: readonly number[], steps: readonly number[], step: number): number | null {
  let [low, high] = [0, steps.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (steps[middle]! <= step) low = middle + 1
    else high = middle
  }
  return low === 0 ? (xs[0] ?? null) : xs[low - 1]!
}
