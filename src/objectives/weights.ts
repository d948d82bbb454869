import type { Objective } from "./objective.ts"
import { tokenWeights } from "./token-weights.ts"

/** What a weight may depend on beside the probability. */
export interface WeightScalars {
  /** 0 content, 1 end of turn, 2 other special or template token. */
  readonly tokenClass: number
  readonly progress: number
}

/**
 * The weights, -d loss / d logp, that an objective gives targets of these probabilities; undefined
 * where they depend on more than that (entropy, a reference, the other tokens of a step).
 */
export function weightsAt(
  { expression }: Pick<Objective, "expression">,
  probabilities: readonly number[],
  { tokenClass, progress }: WeightScalars,
): number[] | undefined {
  const logp = Float64Array.from(probabilities, Math.log)
  const columns = { logp, token_class: tokenClass, progress }
  const weights = tokenWeights({ expression }, columns, probabilities.length)
  return weights && [...weights]
}

/** Probabilities at which a weight is looked at, from unlikely to certain. */
export const SHOWN_P: readonly number[] = Array.from({ length: 121 }, (_, i) =>
  Math.min(1, Math.max(0.002, i / 120)),
)

/** A weight below this is no rounding of 0. */
const NEGATIVE = -1e-9

/**
 * Whether training pushes some targets away: their weight is negative. `p * nll` does so below
 * p = 1/e, which is nearly always a forgotten detach (`sg(p) * nll`).
 */
export const pushesAway = (weights: readonly number[] | undefined): boolean =>
  weights?.some((weight) => weight < NEGATIVE) ?? false
