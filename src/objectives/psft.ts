import { clippedSurrogate } from "./clipped-surrogate.ts"
import { defineObjective, number } from "./definition.ts"
import { constant } from "./expression.ts"

/**
 * Proximal SFT (arXiv 2508.17784): PPO's clipped surrogate with every target's advantage 1.
 *
 *     loss = -min(r, clip(r, 1 - e, 1 + e)),   r = pi_theta / pi_old
 *
 * Weight of the NLL's gradient: r, and 0 once r > 1 + e. pi_old is the policy before the batch's first update, so it differs
 * from SFT's gradient only with more than one update: `updates` steps share one pi_old.
 */
export const psft = defineObjective({
  name: "psft",
  formula: "-min(r, clip(r, 1-e, 1+e)), r = pi / pi_old",
  parameters: {
    epsilon: number(0.2, [0, 1e3], "how far the ratio may move"),
    updates: number(4, [1, 1e4], "optimizer steps on one pi_old, a whole number"),
  },
  form: ({ epsilon }, inputs) => ({
    direct: clippedSurrogate(inputs, constant(1), epsilon, epsilon),
  }),
  modifiers: ["ramp", "keep_special"],
  refusal: "its weights are probability ratios, bounded by epsilon",
})
