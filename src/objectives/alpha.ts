import { defineObjective, MODIFIERS, number } from "./definition.ts"
import { constant } from "./expression.ts"

/**
 * The alpha family of "Beyond Log Likelihood" (arXiv 2510.00526), differentiated directly.
 *
 *     loss = (1 - p^a) / a
 *
 * a -> 0 is the NLL, a = 1 is 1 - p (DFT's gradient). Weight of the NLL's gradient: p^a;
 * on the target's logit: p^a (1 - p), largest at p = a / (a + 1).
 */
export const alpha = defineObjective({
  name: "alpha",
  formula: "(1 - p^a) / a",
  parameters: { a: number(1, [0, 100], "0 is the NLL, 1 is 1 - p") },
  form: ({ a }, { logp, nll }) => ({
    direct: a === 0 ? nll : constant(1).minus(logp.times(a).exp()).over(a),
  }),
  modifiers: MODIFIERS,
})
