import { defineObjective, MODIFIERS, number } from "./definition.ts"
import { constant } from "./expression.ts"

/**
 * LUFFY's policy shaping (arXiv 2504.14945) as a plain loss: maximises p / (p + g).
 *
 *     loss = 1 - p / (p + g) = g / (p + g)
 *
 * Weight of the NLL's gradient: g p / (p + g)^2, largest (1/4) at p = g: it favours unlikely tokens
 * over likely ones, but not impossible ones.
 */
export const luffy = defineObjective({
  name: "luffy",
  formula: "g / (p + g)",
  parameters: { g: number(0.1, [1e-6, 100], "the probability that gets the largest weight") },
  form: ({ g }, { p }) => ({ direct: constant(g).over(p.plus(g)) }),
  modifiers: MODIFIERS,
})
