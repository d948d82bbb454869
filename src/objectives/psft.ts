import { defineObjective, number } from "./definition.ts"
import { constant } from "./expression.ts"
import { clippedSurrogate } from "./policy-gradient.ts"

/**
 * Proximal SFT (arXiv 2508.17784): PPO's clipped surrogate with every target's advantage 1.
 *
 *     loss = -min(r, clip(r, 1 - e, 1 + e_high)),   r = pi_theta / pi_old
 *
 * Weight of the NLL's gradient: r, and 0 once r > 1 + e_high. pi_old is the policy before the
 * batch's first update, so it differs from SFT's gradient only with more than one update: `updates`
 * steps share one pi_old. The released recipe takes 8 of them, with e 0.2 and e_high 0.28.
 */
export const psft = defineObjective({
  name: "psft",
  formula: "-min(r, clip(r, 1-e, 1+e_high)), r = pi / pi_old",
  parameters: {
    epsilon: number(0.2, [0, 1e3], "how far the ratio may move"),
    epsilon_high: number(Number.NaN, [0, 1e3], "how far it may rise; epsilon if left out"),
    updates: number(8, [1, 1e4], "optimizer steps on one pi_old, a whole number"),
  },
  form: ({ epsilon, epsilon_high }, { logp, old_logp }) => {
    const high = Number.isNaN(epsilon_high) ? epsilon : epsilon_high
    return { direct: clippedSurrogate(logp.minus(old_logp).exp(), constant(1), epsilon, high) }
  },
  modifiers: ["ramp", "keep_special"],
  refusal: "its weights are probability ratios, bounded by epsilon",
})
