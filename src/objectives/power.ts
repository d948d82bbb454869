import { defineObjective, MODIFIERS, number } from "./definition.ts"
import { constant, type Expression } from "./expression.ts"

/**
 * The two-exponent family of weights.
 *
 *     loss = sg(p^a (1 - p)^b) c
 *
 * (0, 0) is SFT, (1, 0) DFT, (0.5, 0) the square-root DFT of the official repository's issue 1, (1,
 * 1) CHORD's phi (arXiv 2508.11408), whose gradient is that of (1 - p)^2 / 2. Gradient law: that of
 * f with f'(p) = -p^(a-1) (1 - p)^b.
 */
export const power = defineObjective({
  name: "power",
  formula: "sg(p^a (1-p)^b) c",
  parameters: {
    a: number(1, [0, 100], "exponent of p"),
    b: number(0, [0, 100], "exponent of 1 - p"),
  },
  form: ({ a, b }, { logp, p }) => {
    const factors: Expression[] = []
    if (a !== 0) factors.push(a === 1 ? p : logp.times(a).exp())
    if (b !== 0) factors.push(constant(1).minus(p).power(b))
    return { weight: factors.reduce((x, y) => x.times(y), factors.shift() ?? constant(1)) }
  },
  modifiers: MODIFIERS,
})
