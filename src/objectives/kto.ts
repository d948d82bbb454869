import { defineObjective, number } from "./definition.ts"
import { constant, where } from "./expression.ts"
import { IMPLICIT_REWARD } from "./objective.ts"
import { carriedSum, sequenceLength } from "./pair-losses.ts"

/**
 * Kahneman-Tversky optimisation (arXiv 2402.01306, equation 8): answers that are good or bad, each
 * for itself. With h the sum over an answer's tokens of ln pi - ln pi_ref,
 *
 *     good: w (1 - sigmoid(beta (h - z0)))      bad: w (1 - sigmoid(beta (z0 - h)))
 *     z0 = max(0, mean over the step of h of each prompt with another row's answer), without gradient
 *
 * z0 belongs to the whole optimizer step, so that no split of it changes the loss.
 */
export const kto = defineObjective({
  name: "kto",
  formula: "1 - sigmoid(+-beta (sum ln(pi / pi_ref) - z0)), + for good answers, - for bad ones",
  trainsOn: "labels",
  normalizations: ["sequence_sums"],
  parameters: {
    beta: number(0.1, [1e-6, 1e3], "how strongly the policy is held to the reference"),
    desirable_weight: number(1, [0, 1e3], "weight of good answers"),
    undesirable_weight: number(1, [0, 1e3], "weight of bad answers"),
  },
  form: ({ beta, desirable_weight, undesirable_weight }, inputs) => {
    const { logp, ref_logp, pair_sign, kl_step } = inputs
    const logRatio = logp.minus(ref_logp)
    const away = carriedSum(logRatio).minus(kl_step).times(beta)
    const good = constant(1).minus(away.sigmoid()).times(desirable_weight)
    const bad = constant(1).minus(away.negate().sigmoid()).times(undesirable_weight)
    const loss = where(pair_sign.greater(0), good, bad)
    return {
      direct: loss,
      value: loss.detach().over(sequenceLength()),
      measures: { [IMPLICIT_REWARD]: logRatio.detach().sequenceSum().times(beta) },
    }
  },
  modifiers: [],
  signed: true,
  refusal: "its answers are weighed as wholes; desirable_weight and undesirable_weight do that",
})
