import { defineObjective, MODIFIERS, number } from "./definition.ts"

/**
 * Entropy-adaptive fine-tuning (arXiv 2601.02151).
 *
 *     loss = sg((H_K / ln K)^alpha) c,   H_K: entropy over the renormalised K = 20 most likely tokens
 *
 * Confident disagreement (low entropy, low p) gets little weight. The division by ln K belongs to
 * the method: axolotl's port leaves it out, and its loss is three times larger. LLaMA-Factory
 * divides by 3.0 where ln 20 = 2.9957.
 */
export const eaft = defineObjective({
  name: "eaft",
  formula: "sg((H_20 / ln 20)^alpha) c",
  parameters: { alpha: number(1, [0, 100], "exponent of the normalised entropy; 0 is SFT") },
  form: ({ alpha }, { topk_entropy }) => {
    const normalised = topk_entropy.over(Math.log(20))
    return { weight: alpha === 1 ? normalised : normalised.power(alpha) }
  },
  modifiers: MODIFIERS,
})
