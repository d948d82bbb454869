/** What is worth a warning while a policy learns from its samples: seen in the events. */
import type { RolloutEvent, RunEvent, StepEvent, WarningEvent } from "../run/events.ts"

type Warning = Pick<WarningEvent, "code" | "message" | "hint">

/** Rollouts, or steps, that are looked at together. */
const LAST = 5
/** Nats below which hardly anything is tried any more; share of the first rollout's entropy. */
const COLLAPSED = { nats: 0.1, share: 1 / 3 }
/** Share of the tokens that the clip keeps from moving; mean distance of the ratio from 1. */
const FAR = { clipped: 0.2, ratio: 0.1 }

const mean = (values: readonly number[]) =>
  values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length)

function entropyCollapse(entropies: readonly number[]): Warning | undefined {
  const [first] = entropies
  if (first === undefined || entropies.length <= LAST) return undefined
  const now = mean(entropies.slice(-LAST))
  const isLow = now < COLLAPSED.nats && first >= COLLAPSED.nats
  if (!isLow && now >= COLLAPSED.share * first) return undefined
  return {
    code: "entropy-collapse",
    message: `the samples' entropy is ${now.toPrecision(2)} nats a token (${first.toPrecision(2)} in the first rollout): the policy tries ever fewer answers`,
    hint: "if the reward has stopped rising: objective.epsilon_high: 0.28, objective.entropy: 0.001, more samples a prompt, a lower learning_rate, or prompts that are not solved yet",
  }
}

function ratioHigh(steps: readonly StepEvent[]): Warning | undefined {
  const last = steps.slice(-LAST)
  if (last.length < LAST) return undefined
  const clipped = mean(last.map(({ clip_low = 0, clip_high = 0 }) => clip_low + clip_high))
  const apart = mean(last.map(({ ratio }) => Math.abs((ratio?.mean ?? 1) - 1)))
  if (clipped <= FAR.clipped && apart <= FAR.ratio) return undefined
  return {
    code: "ratio-high",
    message: `in the last ${LAST} steps the policy was far from the one that sampled: ${(100 * clipped).toFixed(0)} % of the tokens are clipped, pi / pi_old is ${(1 + apart).toFixed(2)} or its inverse on average`,
    hint: "lower learning_rate or rollout.num_iterations, or make fewer steps of a rollout (rollout.prompts)",
  }
}

/** Each kind once; `before` are the events of the run that this one continues. */
export function policyWatch(
  before: readonly RunEvent[] = [],
): (event: RunEvent) => Warning | undefined {
  const entropies: number[] = []
  let steps: StepEvent[] = []
  const told = new Set(before.flatMap((event) => (event.type === "warning" ? [event.code] : [])))
  const see = (event: RunEvent) => {
    if (event.type === "rollout") {
      const { entropy }: RolloutEvent = event
      if (entropy !== null) entropies.push(entropy)
    }
    if (event.type === "step") steps = [...steps, event].slice(-LAST)
  }
  for (const event of before) see(event)
  return (event) => {
    see(event)
    const found = [
      event.type === "rollout" ? entropyCollapse(entropies) : undefined,
      event.type === "step" ? ratioHigh(steps) : undefined,
    ].find((warning) => warning !== undefined && !told.has(warning.code))
    if (found) told.add(found.code)
    return found
  }
}
