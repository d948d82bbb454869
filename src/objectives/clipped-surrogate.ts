import type { Expression } from "./expression.ts"
import type { ObjectiveInputs } from "./objective.ts"

/**
 * PPO's clipped surrogate (arXiv 1707.06347, equation 7), negated.
 *
 *     -min(r A, clip(r, 1 - low, 1 + high) A),   r = exp(logp - old_logp)
 *
 * Gradient: r A grad logp where the clip does not bind against the advantage, else 0.
 */
export function clippedSurrogate(
  { logp, old_logp }: ObjectiveInputs,
  advantage: Expression,
  low: number,
  high: number,
): Expression {
  const ratio = logp.minus(old_logp).exp()
  const clipped = ratio.clamp(1 - low, 1 + high)
  return ratio.times(advantage).min(clipped.times(advantage)).negate()
}
