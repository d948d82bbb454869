/** Advantages from rewards, in float64, before the policy is asked anything. */
import type { AdvantageRule } from "../../objectives/index.ts"

/** Added to a deviation, as TRL does. */
const EPSILON = 1e-4
/** Added to the variance over tokens, as verl does. */
const WHITENING_EPSILON = 1e-8

export interface RewardedSample {
  /** null: no reward could be said; its advantage is 0 and it is no part of any mean. */
  readonly reward: number | null
  /** Its prompt's place in the rollout. */
  readonly group: number
  /** How many tokens are trained of it. */
  readonly tokens: number
  /**
   * A demonstration: compared with the samples of its group, and no part of what they are compared
   * with.
   */
  readonly expert?: true | undefined
}

/**
 * Whether the rewards of a group tell its samples apart. Compared, not subtracted: 0.1 + 0.2 is no
 * 0.3.
 */
export function allEqual(rewards: readonly (number | null)[]): boolean {
  const said = rewards.filter((reward) => reward !== null)
  return said.length < 2 || said.every((reward) => reward === said[0])
}

/**
 * One number a sample:
 *
 *     group          R - mean R of the group's samples
 *     leave-one-out  R - mean R of the group's other samples = G / (G - 1) (R - mean R)
 *     none           R
 *
 * divided by (std + 1e-4), std the deviation (over G - 1) of the group or of all of the rollout,
 * and then, with `whiten`, brought to mean 0 and variance 1 over all tokens. A group whose rewards
 * are all equal has advantage 0 under a baseline.
 */
export function advantages(
  samples: readonly RewardedSample[],
  { baseline, scale, whiten = undefined }: AdvantageRule,
): Float64Array {
  const groups = new Map<number, number[]>()
  samples.forEach(({ group }, i) => {
    const members = groups.get(group)
    if (members) members.push(i)
    else groups.set(group, [i])
  })
  const rewardsOf = (members: readonly number[]) =>
    members.flatMap((i) => (samples[i]!.expert ? [] : (samples[i]!.reward ?? [])))
  const ofAll = deviation(rewardsOf([...samples.keys()]))
  const found = new Float64Array(samples.length)
  for (const members of groups.values()) {
    const said = rewardsOf(members)
    const equal = allEqual(said)
    const [average, spread] = [mean(said), deviation(said)]
    for (const i of members) {
      const { reward, expert } = samples[i]!
      if (reward === null) continue
      if (expert) {
        found[i] = expertAdvantage(reward, { average, spread, ofAll }, { baseline, scale })
        continue
      }
      if (baseline === "none") found[i] = reward
      else if (equal) continue
      else if (baseline === "group") found[i] = reward - average
      else found[i] = (said.length / (said.length - 1)) * (reward - average)
      if (scale === "group") found[i]! /= spread + EPSILON
      if (scale === "batch") found[i]! /= ofAll + EPSILON
    }
  }
  return whiten ? whitened(found, samples) : found
}

/** By the samples' mean and deviation; a deviation of 0 divides nothing, as in RL-PLUS. */
function expertAdvantage(
  reward: number,
  of: { readonly average: number; readonly spread: number; readonly ofAll: number },
  { baseline, scale }: AdvantageRule,
): number {
  const apart = baseline === "none" ? reward : reward - of.average
  const by = scale === "group" ? of.spread : scale === "batch" ? of.ofAll : 0
  return by === 0 ? apart : apart / (by + EPSILON)
}

/** (A - mean) / sqrt(var + 1e-8) over tokens; samples without a reward stay at 0. */
function whitened(values: Float64Array, samples: readonly RewardedSample[]): Float64Array {
  const weights = samples.map(({ reward, tokens }) => (reward === null ? 0 : tokens))
  const total = weights.reduce((sum, n) => sum + n, 0)
  if (total < 2) return values.map(() => 0)
  const sum = (of: (value: number) => number) =>
    values.reduce((all, value, i) => all + weights[i]! * of(value), 0)
  const average = sum((value) => value) / total
  const variance = sum((value) => (value - average) ** 2) / (total - 1)
  return values.map((value, i) =>
    weights[i] === 0 ? 0 : (value - average) / Math.sqrt(variance + WHITENING_EPSILON),
  )
}

/** The same of advantages that differ by token. */
export function whitenedTokens(rows: readonly Float64Array[]): Float64Array[] {
  const all = rows.flatMap((row) => [...row])
  if (all.length < 2) return rows.map((row) => row.map(() => 0))
  const average = mean(all)
  const deviated = Math.sqrt(deviation(all) ** 2 + WHITENING_EPSILON)
  return rows.map((row) => row.map((value) => (value - average) / deviated))
}

export function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length
}

/** Over n - 1; 0 for fewer than two. */
export function deviation(values: readonly number[]): number {
  if (values.length < 2) return 0
  const average = mean(values)
  return Math.sqrt(
    values.reduce((sum, value) => sum + (value - average) ** 2, 0) / (values.length - 1),
  )
}
