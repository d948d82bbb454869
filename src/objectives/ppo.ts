import { clippedSurrogate } from "./clipped-surrogate.ts"
import { defineObjective, number } from "./definition.ts"
import { constant } from "./expression.ts"

const SIGNED = "its weights carry the advantages' sign"

/**
 * PPO's policy loss (arXiv 1707.06347, equation 7). The advantages come with the tokens: whoever samples computes them
 * (with a value model or without); this is not a value loss.
 *
 *     loss = -min(r A, clip(r, 1 - e, 1 + e_high) A),   r = pi_theta / pi_old
 */
export const ppo = defineObjective({
  name: "ppo",
  formula: "-min(r A, clip(r, 1-e, 1+e_high) A), r = pi / pi_old",
  parameters: {
    epsilon: number(0.2, [0, 1], "clip below"),
    epsilon_high: number(0.2, [0, 1e3], "clip above; 0.28 in DAPO"),
  },
  form: ({ epsilon, epsilon_high }, inputs) => ({
    direct: clippedSurrogate(inputs, inputs.advantage, epsilon, epsilon_high),
  }),
  modifiers: [],
  signed: true,
  refusal: SIGNED,
})

/**
 * GRPO (DeepSeekMath, arXiv 2402.03300, equations 3 and 4): the clipped surrogate with advantages relative to the group of
 * samples of one prompt, and an optional KL penalty by the k3 estimator on the sampled token.
 *
 *     loss = -min(r A, clip(r, 1 - e, 1 + e_high) A) + beta (ref / pi - ln(ref / pi) - 1)
 *
 * The paper averages per sequence (`normalization: sequences`); the default here divides by all tokens, as DAPO does.
 * beta = 0 needs no reference.
 */
export const grpo = defineObjective({
  name: "grpo",
  formula: "-min(r A, clip(r, 1-e, 1+e_high) A) + beta (ref/pi - ln(ref/pi) - 1)",
  parameters: { ...ppo.parameters, beta: number(0, [0, 1e3], "strength of the KL penalty") },
  form: ({ epsilon, epsilon_high, beta }, inputs) => {
    const surrogate = clippedSurrogate(inputs, inputs.advantage, epsilon, epsilon_high)
    if (beta === 0) return { direct: surrogate }
    const logRatio = inputs.ref_logp.minus(inputs.logp)
    const k3 = logRatio.exp().minus(logRatio).minus(constant(1))
    return { direct: surrogate, anchor: k3.times(beta) }
  },
  modifiers: [],
  signed: true,
  refusal: SIGNED,
})
