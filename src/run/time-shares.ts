/** What the time of a run that samples went into, from its events. */
import type { RunEvent, TimeShares } from "./events.ts"

/**
 * Follows a run; what it returns tells the shares so far, undefined for runs without rollouts.
 * `before` are the events of the run that this one continues.
 */
export function timeShares(before: readonly RunEvent[] = []) {
  const spent = { sampling: 0, grading: 0, measuring: 0, training: 0 }
  let tokens = 0
  let samples = false
  const see = (event: RunEvent) => {
    if (event.type === "rollout") {
      samples = true
      spent.sampling += event.sampling_seconds ?? event.seconds
      spent.grading += event.grading_seconds ?? 0
      spent.measuring += event.measuring_seconds ?? 0
    }
    if (event.type !== "step") return
    spent.training += (event.tokens - tokens) / event.tokens_per_second
    tokens = event.tokens
  }
  for (const event of before) see(event)
  const shares = (): TimeShares | undefined => {
    const all = Object.values(spent).reduce((sum, seconds) => sum + seconds, 0)
    if (!samples || !(all > 0)) return undefined
    const { sampling, grading, measuring, training } = spent
    return {
      sampling: sampling / all,
      grading: grading / all,
      measuring: measuring / all,
      training: training / all,
    }
  }
  return { see, shares }
}
