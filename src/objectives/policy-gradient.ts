/** Building blocks of objectives on sampled answers: ratios, clipping, the KL term, measures. */
import { number } from "./definition.ts"
import { constant, type Expression } from "./expression.ts"
import type { Measures, ObjectiveInputs } from "./objective.ts"

export const SIGNED = "its weights carry the advantages' sign"

/** |ln r| past which a ratio moves no further: e^20 is finite in float32, and its square too. */
export const MOST = 20

/** pi_theta / pi_old of each token; no gradient past e^20 either way. */
export function tokenRatio({ logp, old_logp }: ObjectiveInputs): Expression {
  return logp.minus(old_logp).clamp(-MOST, MOST).exp()
}

/**
 * The sequence's ratio, by its mean or its sum of ln pi - ln pi_old, on each of its tokens with
 * that token's gradient: sg(S) p / sg(p), equal in value and gradient to the sequence's own.
 */
export function sequenceRatio(
  { logp, old_logp }: ObjectiveInputs,
  over: "mean" | "sum",
): Expression {
  const apart = logp.minus(old_logp).detach()
  const whole = over === "mean" ? apart.sequenceMean() : apart.sequenceSum()
  return logp.minus(logp.detach()).plus(whole.clamp(-MOST, MOST)).exp()
}

/**
 * PPO's clipped surrogate (arXiv 1707.06347, equation 7), negated.
 *
 *     -min(r A, clip(r, 1 - low, 1 + high) A)
 *
 * Gradient: r A grad logp where the clip does not bind against the advantage, else 0. `most` bounds
 * the first ratio too: without it nothing bounds a large r where A < 0 (dual clip, INTELLECT-2's
 * delta).
 */
export function clippedSurrogate(
  ratio: Expression,
  advantage: Expression,
  low: number,
  high: number,
  most = 0,
): Expression {
  const clipped = ratio.clamp(1 - low, 1 + high)
  const bounded = most > 0 ? ratio.min(most) : ratio
  return bounded.times(advantage).min(clipped.times(advantage)).negate()
}

export const CLIP = {
  epsilon: number(0.2, [0, 1], "clip below"),
  epsilon_high: number(0.2, [0, 1e3], "clip above; 0.28 in DAPO"),
}

/**
 * What is told of clipped ratios: shares of tokens that the clip keeps from moving, and their
 * ratios.
 */
export function clipMeasures(
  inputs: ObjectiveInputs,
  { epsilon, epsilon_high }: { readonly epsilon: number; readonly epsilon_high: number },
  ratio = tokenRatio(inputs),
): Measures {
  const { advantage } = inputs
  return {
    ...ratioMeasures(inputs, ratio),
    clip_low: ratio.less(1 - epsilon).times(advantage.less(0)),
    clip_high: ratio.greater(1 + epsilon_high).times(advantage.greater(0)),
  }
}

/** What is told of any objective on sampled answers. */
export function ratioMeasures(inputs: ObjectiveInputs, ratio = tokenRatio(inputs)): Measures {
  const { logp, old_logp, advantage } = inputs
  return {
    ratio: ratio.detach(),
    policy_kl: old_logp.minus(logp),
    advantage_abs: advantage.max(advantage.negate()),
  }
}

/** Estimators of KL(pi || ref) at a token sampled from pi, usable as a loss term. */
export const KL_ESTIMATES = ["k3", "k2", "k3-ratio"] as const

export const KL_PENALTY_MEANING =
  "how the KL is estimated: k3-ratio and k2 have the gradient of KL(policy || ref), k3 near the reference; k1 in a loss pulls nowhere, so it is for the reward (rollout.kl_in_reward)"

/**
 * With d = ln ref - ln pi:
 *
 *     k2        d^2 / 2              its expected gradient is that of KL(pi || ref)
 *     k3        e^d - d - 1          never negative; its gradient is that of KL(ref || pi)
 *     k3-ratio  r (e^d - d - 1)      DeepSeek-V3.2; that of KL(pi || ref), off policy too
 *
 * (Schulman, "Approximating KL divergence", 2020; which gradient is which is checked by
 * enumeration.)
 */
export function klEstimate(
  inputs: ObjectiveInputs,
  kind: (typeof KL_ESTIMATES)[number],
): Expression {
  const d = inputs.ref_logp.minus(inputs.logp).clamp(-MOST, MOST)
  if (kind === "k2") return d.times(d).times(0.5)
  const k3 = d.exp().minus(d).minus(constant(1))
  return kind === "k3" ? k3 : tokenRatio(inputs).times(k3)
}
