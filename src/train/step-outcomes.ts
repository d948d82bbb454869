/**
 * What a step is told of beside its loss: the objective's measures, and how both sides of pairs
 * fare.
 */
import { IMPLICIT_REWARD } from "../objectives/index.ts"
import type { PairFields, StepEvent } from "../run/events.ts"
import type { StepColumns } from "./objective-head.ts"

type Measured = Readonly<Record<string, Float64Array>>

/** How one answer fares: what pairs and labels are told by. */
export interface Outcome {
  /** Its place in the step: 2k and 2k + 1 are a pair. */
  readonly sequence: number
  /** The chosen side, or an answer labelled good. */
  readonly chosen: boolean
  /** Sum over its tokens, nats; a reward model has none. */
  readonly logp?: number
  readonly tokens: number
  readonly reward: number
}

function mean(values: ArrayLike<number>): number {
  let sum = 0
  for (let i = 0; i < values.length; i++) sum += values[i]!
  return sum / Math.max(1, values.length)
}

const largest = (values: Float64Array) => values.reduce((most, value) => Math.max(most, value))

/** Measures that are fields of the event by themselves. */
const FIELDS = ["clip_low", "clip_high", "policy_kl", "advantage_abs"] as const

type MeasureFields = Pick<StepEvent, (typeof FIELDS)[number] | "ratio" | "measures">

/** Means over the step's tokens of what the objective measures. */
export function measureFields(measured: Measured): MeasureFields {
  const means = Object.fromEntries(
    Object.entries(measured)
      .filter(([name, values]) => name !== IMPLICIT_REWARD && values.length > 0)
      .map(([name, values]) => [name, mean(values)]),
  )
  const { ratio, ...others } = means
  const known = FIELDS.filter((name) => others[name] !== undefined)
  const own = Object.entries(others).filter(
    ([name]) => !(FIELDS as readonly string[]).includes(name),
  )
  return {
    ...Object.fromEntries(known.map((name) => [name, others[name]])),
    ...(ratio === undefined ? {} : { ratio: { mean: ratio, max: largest(measured.ratio!) } }),
    ...(own.length > 0 ? { measures: Object.fromEntries(own) } : {}),
  }
}

/** The answers of a step; none where its rows are neither pairs nor labelled. */
export function outcomesOf(
  { columns, sequences }: StepColumns,
  measured: Measured,
): readonly Outcome[] {
  const { pair_sign, logp } = columns
  if (!pair_sign) return []
  const rewards = measured[IMPLICIT_REWARD]
  const bySequence = new Map<number, Outcome>()
  sequences.forEach((sequence, t) => {
    const known = bySequence.get(sequence)
    bySequence.set(sequence, {
      sequence,
      chosen: pair_sign[t]! > 0,
      ...(logp ? { logp: (known?.logp ?? 0) + logp[t]! } : {}),
      tokens: (known?.tokens ?? 0) + 1,
      reward: rewards?.[t] ?? 0,
    })
  })
  return [...bySequence.values()]
}

/**
 * The implicit rewards and log-probabilities (sums over an answer's tokens) of both sides. Margins
 * and accuracies are of pairs; of labels the margin is that of the means.
 */
export function pairFields(outcomes: readonly Outcome[], paired: boolean): PairFields {
  const good = outcomes.filter(({ chosen }) => chosen)
  const bad = outcomes.filter(({ chosen }) => !chosen)
  const told = outcomes.some(({ logp }) => logp !== undefined)
  const side = (name: string, of: readonly Outcome[]) =>
    of.length === 0
      ? {}
      : {
          [`reward_${name}`]: mean(of.map(({ reward }) => reward)),
          ...(told ? { [`logp_${name}`]: mean(of.map(({ logp = 0 }) => logp)) } : {}),
        }
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0)
  return {
    ...side("chosen", good),
    ...side("rejected", bad),
    ...(paired ? marginsOfPairs(outcomes) : marginOfMeans(good, bad)),
    ...(told && good.length > 0
      ? {
          nll_chosen:
            -sum(good.map(({ logp = 0 }) => logp)) / sum(good.map(({ tokens }) => tokens)),
        }
      : {}),
  }
}

function marginsOfPairs(outcomes: readonly Outcome[]): PairFields {
  const bySequence = new Map(outcomes.map((one) => [one.sequence, one]))
  const margins = outcomes.flatMap(({ sequence, reward }) => {
    const other = bySequence.get(sequence + 1)
    return sequence % 2 === 0 && other ? [reward - other.reward] : []
  })
  if (margins.length === 0) return {}
  return {
    reward_margin: mean(margins),
    // Strictly: at the reference itself nothing is preferred.
    reward_accuracy: mean(margins.map((margin) => Number(margin > 0))),
  }
}

function marginOfMeans(good: readonly Outcome[], bad: readonly Outcome[]): PairFields {
  if (good.length === 0 || bad.length === 0) return {}
  const of = (side: readonly Outcome[]) => mean(side.map(({ reward }) => reward))
  return { reward_margin: of(good) - of(bad) }
}
