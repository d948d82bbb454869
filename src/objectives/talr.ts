import { defineObjective, MODIFIERS, number } from "./definition.ts"
import { constant } from "./expression.ts"

/**
 * Token-adaptive loss reweighting (arXiv 2509.20758), as one third-party re-implementation reads
 * it; the original code is not public.
 *
 *     loss = sg(max(p^(1 / tau), floor)) c,   tau = median over the step's sequences of their mean c
 *
 * tau needs the whole optimizer step: a first forward pass. The harder the batch, the flatter the
 * weights.
 */
export const talr = defineObjective({
  name: "talr",
  formula: "sg(max(p^(1/tau), floor)) c, tau = median over sequences of mean c",
  parameters: { floor: number(0.01, [0, 1], "least weight") },
  form: ({ floor }, { logp, nll }) => {
    const tau = nll.detach().sequenceMean().detach().batchMedian()
    return { weight: logp.times(constant(1).over(tau)).exp().max(floor) }
  },
  modifiers: MODIFIERS,
})
