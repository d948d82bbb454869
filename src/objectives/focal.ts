import { defineObjective, MODIFIERS, number } from "./definition.ts"
import { constant } from "./expression.ts"

/**
 * Focal loss (arXiv 1708.02002, equation 4): DFT's mirror image, it turns away from what the model
 * already knows. Not detached, as in its paper; the detached form is `power` with a = 0.
 *
 *     loss = (1 - p)^g c
 *
 * Weight of the NLL's gradient: (1 - p)^g + g p (1 - p)^(g-1) c.
 */
export const focal = defineObjective({
  name: "focal",
  formula: "(1 - p)^g c",
  parameters: { g: number(2, [0, 100], "focusing parameter; 0 is SFT") },
  form: ({ g }, { p, nll }) => ({ direct: constant(1).minus(p).power(g).times(nll) }),
  modifiers: MODIFIERS,
})
