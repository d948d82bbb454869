/** What makes up for samples that another engine, or another precision, drew. */
import { constant, type Expression, where } from "./expression.ts"
import { INPUTS } from "./objective.ts"

export const IMPORTANCE = [
  "none",
  "token-truncate",
  "token-mask",
  "sequence-mask",
  "geometric-mask",
] as const

export interface ImportanceSettings {
  readonly importance: (typeof IMPORTANCE)[number]
  /** The largest weight, C. */
  readonly cap: number
  /** The smallest weight that a mask lets through. */
  readonly least?: number
  /** Bad answers whose mean ln sampled - ln pi is above this are dropped (DeepSeek-V3.2). */
  readonly offPolicyMask?: number
}

/**
 * The detached weight of each token's loss, from w = exp(ln pi_old - ln pi_sampler):
 *
 *     token-truncate  min(w, C)
 *     token-mask      w where least <= w <= C, else 0                      IcePop
 *     sequence-mask   W = product of w over the sequence, 0 above C        TRL
 *     geometric-mask  1 where least <= W^(1 / n) <= C, else 0              verl
 *
 * Masked tokens stay in the divisor, so that a filter never makes the step larger.
 */
export function importanceWeight({
  importance,
  cap,
  least = 0,
  offPolicyMask,
}: ImportanceSettings): Expression | undefined {
  const { old_logp, sampling_logp, logp, advantage } = INPUTS
  const apart = old_logp.minus(sampling_logp)
  const within = (w: Expression, weight: Expression) =>
    where(w.lessOrEqual(cap).times(w.greaterOrEqual(least)), weight, 0)
  const weights: {
    readonly [Name in ImportanceSettings["importance"]]: () => Expression | undefined
  } = {
    none: () => undefined,
    "token-truncate": () => apart.exp().min(cap),
    "token-mask": () => within(apart.exp(), apart.exp()),
    "sequence-mask": () => {
      const product = apart.detach().sequenceSum().exp()
      return within(product, product)
    },
    "geometric-mask": () => within(apart.detach().sequenceMean().exp(), constant(1)),
  }
  const weight = weights[importance]()?.detach()
  if (offPolicyMask === undefined) return weight
  const drifted = sampling_logp.minus(logp).detach().sequenceMean().greater(offPolicyMask)
  const kept = where(advantage.less(0).times(drifted), 0, 1).detach()
  return weight ? weight.times(kept) : kept
}
