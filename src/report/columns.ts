/** Events as columns of numbers. Runs in a browser too. */
import type { RolloutEvent, StepEvent } from "../run/events.ts"
import { eventNumbers } from "../run/run-index.ts"

/** One number an event, by the field's name, those in groups as `group.name`; NaN for none. */
export type Columns = ReadonlyMap<string, readonly number[]>

/** Columns of steps that only rise; axes are of them, and no chart draws them. */
export const COUNTERS: ReadonlySet<string> = new Set([
  "step",
  "time",
  "epoch",
  "tokens",
  "supervised_tokens",
])

export function columnsOf(rows: readonly (readonly (readonly [string, number])[])[]): Columns {
  const columns = new Map<string, number[]>()
  for (const [i, row] of rows.entries()) {
    for (const [name, value] of row) {
      let column = columns.get(name)
      if (column === undefined) {
        column = new Array<number>(rows.length).fill(Number.NaN)
        columns.set(name, column)
      }
      column[i] = value
    }
  }
  return columns
}

export const stepColumns = (steps: readonly StepEvent[]): Columns =>
  columnsOf(steps.map(eventNumbers))

/** Rollouts, of which each reward is a spread of its own: `rewards.NAME` is its mean. */
export const rolloutColumns = (rollouts: readonly RolloutEvent[]): Columns =>
  columnsOf(
    rollouts.map((event) => {
      const { rewards, ...rest } = event
      const means = Object.entries(rewards ?? {}).map(
        ([name, { mean }]) => [`rewards.${name}`, mean] as const,
      )
      return [...eventNumbers(rest), ...means]
    }),
  )

/**
 * Effective tokens over the step's own supervised tokens (events count those of the run so far).
 */
export function effectiveShare(columns: Columns): readonly number[] {
  const effective = columns.get("effective_tokens")
  const supervised = columns.get("supervised_tokens")
  const steps = columns.get("step") ?? []
  if (!effective || !supervised) return []
  return steps.map((step, i) => {
    const tokens = supervised[i]! - (i === 0 ? 0 : supervised[i - 1]!)
    const since = step - (i === 0 ? 0 : steps[i - 1]!)
    return tokens > 0 && since === 1 ? effective[i]! / tokens : Number.NaN
  })
}
