import { choice, defineObjective, MODIFIERS, number } from "./definition.ts"
import type { Expression } from "./expression.ts"

/**
 * NLL of only the tokens that the model finds likely ("thresholded NLL" of arXiv 2510.00526;
 * ProFiT, arXiv 2601.09195), or with `keep: low` of only the unlikely ones.
 *
 *     loss = sg(1[p > tau] p^a) c
 *
 * a = 0 is the plain NLL of those kept, a = 1 has the gradient of (1 - p) 1[p > tau]. The step's
 * divisor stays all supervised tokens, not those kept, as in ProFiT.
 */
export const threshold = defineObjective({
  name: "threshold",
  formula: "sg(1[p > tau] p^a) c",
  parameters: {
    tau: number(0.2, [0, 1], "probability that divides the tokens kept from those left out"),
    a: number(0, [0, 100], "exponent of p among the tokens kept"),
    keep: choice(["high", "low"], "keep the tokens above tau, or those at most tau"),
  },
  form: ({ tau, a, keep }, { logp, p }) => {
    const kept: Expression = keep === "high" ? p.greater(tau) : p.lessOrEqual(tau)
    if (a === 0) return { weight: kept }
    return { weight: kept.times(a === 1 ? p : logp.times(a).exp()) }
  },
  modifiers: MODIFIERS,
})
