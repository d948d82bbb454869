import { defineObjective, MODIFIERS } from "./definition.ts"

/**
 * Dynamic Fine-Tuning (arXiv 2508.05629, equation 9): each token's NLL, weighted by the model's own
 * probability of that token.
 *
 *     loss = sg(p) c,   c = -ln p
 *
 * Gradient on the logits: p (softmax(z) - onehot(y)), exactly p times SFT's; it is also the
 * gradient of -p and of 1 - p. The value c e^-c is not monotone in p (largest, 1/e, at p = 1/e): a
 * falling loss proves nothing, so NLL stands beside it.
 */
export const dft = defineObjective({
  name: "dft",
  formula: "sg(p) c",
  parameters: {},
  form: (_values, { p }) => ({ weight: p }),
  modifiers: MODIFIERS,
})
