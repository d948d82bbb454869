/** What is told of a rollout. */
import type { EventBody, RolloutEvent } from "../../run/events.ts"
import { allEqual, deviation, mean } from "./advantages.ts"
import { criticFields } from "./gae.ts"
import { ownTokens, type RolloutRow, type RolloutSample } from "./rollout.ts"

export interface RolloutFacts {
  readonly number: number
  /** Optimizer steps done. */
  readonly step: number
  /** All that were sampled, those left out among them. */
  readonly sampled: readonly RolloutSample[]
  /** Those that are trained. */
  readonly rows: readonly RolloutRow[]
  /** Of each row's tokens, mean over them, nats. */
  readonly entropies: readonly Float32Array[]
  readonly labels: readonly string[]
  /** Groups asked for in place of equal ones. */
  readonly resampled: number
  /** Optimizer steps done when it was drawn. */
  readonly policyStep: number
  readonly staleness?: number
  /**
   * Whole: of drawing and grading it. Sampling: what training waited for that. Grading: what it
   * took beyond sampling. Measuring: by training's own graphs.
   */
  readonly seconds: {
    readonly whole: number
    readonly sampling: number
    readonly grading: number
    readonly measuring: number
  }
  /** Importance weights of the rows' tokens, where they have any. */
  readonly importance: Float64Array | undefined
  readonly importanceCap: number
}

const lengths = (samples: readonly RolloutSample[]) =>
  rangeOf(samples.map((sample) => ownTokens(sample).length))

function rangeOf(all: readonly number[]) {
  if (all.length === 0) return { mean: 0, min: 0, max: 0 }
  return { mean: mean(all), min: Math.min(...all), max: Math.max(...all) }
}

export function groupsOf<Sample extends RolloutSample>(
  samples: readonly Sample[],
): Map<number, Sample[]> {
  const groups = new Map<number, Sample[]>()
  for (const sample of samples) {
    const members = groups.get(sample.group)
    if (members) members.push(sample)
    else groups.set(sample.group, [sample])
  }
  return groups
}

/** Share of the groups whose rewards are all equal; a group of one has nothing to be equal to. */
export function zeroVarianceShare(samples: readonly RolloutSample[]): number {
  const own = samples.filter(({ expert }) => !expert)
  const groups = [...groupsOf(own).values()].filter(({ length }) => length > 1)
  if (groups.length === 0) return 0
  return (
    groups.filter((group) => allEqual(group.map(({ reward }) => reward))).length / groups.length
  )
}

export function rolloutEvent(facts: RolloutFacts): EventBody {
  const { labels, importance } = facts
  const { whole: seconds, sampling, grading, measuring } = facts.seconds
  const own = <Sample extends RolloutSample>(all: readonly Sample[]) =>
    all.filter(({ expert }) => !expert)
  const [sampled, rows] = [own(facts.sampled), own(facts.rows)]
  const said = sampled.flatMap(({ reward }) => reward ?? [])
  const tokens = sampled.reduce((sum, one) => sum + ownTokens(one).length - (one.prefix ?? 0), 0)
  const turns = sampled.map(({ context = [] }) => context.length + 1)
  const prefixes = sampled.flatMap(({ prefix }) => prefix ?? [])
  const ended = sampled.filter(({ finishReason }) => finishReason !== "length")
  const rewards = labels.map((label) => {
    const scores = sampled.flatMap(({ rewards }) => rewards[label] ?? [])
    return [label, { mean: mean(scores), std: deviation(scores) }] as const
  })
  const event: Omit<RolloutEvent, "time"> = {
    type: "rollout",
    step: facts.step,
    rollout: facts.number,
    prompts: groupsOf(sampled).size,
    sequences: sampled.length,
    tokens,
    reward: mean(said),
    reward_std: deviation(said),
    rewards: Object.fromEntries(rewards),
    zero_variance_groups: zeroVarianceShare(sampled),
    unscored: sampled.length - said.length,
    resampled: facts.resampled,
    trained: rows.length,
    ...(rows.length < facts.rows.length ? { demonstrations: facts.rows.length - rows.length } : {}),
    ...exploredFields(sampled),
    ...(Math.max(...turns, 1) > 1 ? { turns: rangeOf(turns) } : {}),
    ...(prefixes.length > 0 ? { prefix_length: rangeOf(prefixes) } : {}),
    completion_length: lengths(sampled),
    terminated_length: lengths(ended),
    truncated: sampled.length === 0 ? 0 : 1 - ended.length / sampled.length,
    entropy: tokenMean(facts.entropies),
    logp_difference: differences(rows),
    ...criticFields(rows),
    ...(importance ? { importance: importanceFields(importance, facts.importanceCap) } : {}),
    policy_step: facts.policyStep,
    ...(facts.staleness === undefined ? {} : { staleness: facts.staleness }),
    seconds,
    sampling_seconds: sampling,
    grading_seconds: grading,
    measuring_seconds: measuring,
    tokens_per_second: tokens / Math.max(seconds, 1e-9),
  }
  return event
}

/**
 * How many were drawn of prompts that no first sample solved, and the share of those prompts that
 * one then did.
 */
function exploredFields(samples: readonly RolloutSample[]) {
  const more = samples.filter(({ explored }) => explored)
  if (more.length === 0) return {}
  const groups = [...groupsOf(more).values()]
  const found = groups.filter((group) => !allEqual(group.map(({ reward }) => reward)))
  return { explored: more.length, explored_found: found.length / groups.length }
}

function tokenMean(values: readonly Float32Array[]): number | null {
  const count = values.reduce((sum, { length }) => sum + length, 0)
  if (count === 0) return null
  return values.reduce((sum, own) => own.reduce((all, value) => all + value, sum), 0) / count
}

/** |ln pi_old - ln pi_sampler| of the rows' tokens, nats. */
export function differences(
  rows: readonly Pick<RolloutRow, "oldLogp" | "samplingLogp" | "prefix" | "explored">[],
): { readonly mean: number; readonly max: number } | null {
  let [sum, max, count] = [0, 0, 0]
  for (const { oldLogp, samplingLogp, prefix = 0, explored } of rows) {
    if (explored) continue // drawn at another temperature
    oldLogp.forEach((old, t) => {
      if (t < prefix) return // nobody sampled it
      const apart = Math.abs(old - samplingLogp[t]!)
      sum += apart
      max = Math.max(max, apart)
      count++
    })
  }
  return count === 0 ? null : { mean: sum / count, max }
}

function importanceFields(weights: Float64Array, cap: number) {
  if (weights.length === 0) return { min: 0, mean: 0, max: 0, cut: 0 }
  const cut = weights.filter((weight) => weight > cap).length / weights.length
  const all = weights.reduce((sum, weight) => sum + weight, 0)
  return {
    min: weights.reduce((least, weight) => Math.min(least, weight)),
    mean: all / weights.length,
    max: weights.reduce((most, weight) => Math.max(most, weight)),
    cut,
  }
}
