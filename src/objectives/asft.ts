import { defineObjective, MODIFIERS, number } from "./definition.ts"
import { dft } from "./dft.ts"
import type { Expression } from "./expression.ts"
import { sft } from "./sft.ts"

/**
 * Anchored SFT (arXiv 2509.23753): DFT, held to the frozen base model.
 *
 *     loss = sg(p) c + lambda KL(pi_ref || pi_theta)
 *
 * The KL has the reference first and is exact: the sum over the whole vocabulary at each supervised
 * position, not an estimate from the target. (Ports differ: NeMo-RL estimates KL(theta || ref) from
 * the target, where lambda means something else.) Its gradient on the logits is lambda (softmax(z)
 * - softmax(z_ref)). The reference is the base with its adapter off, or a second copy under full
 * fine-tuning. lambda = 0 is DFT, bit for bit, and needs no reference.
 */
export const asft = defineObjective({
  name: "asft",
  formula: "sg(p) c + lambda KL(ref || policy)",
  parameters: {
    lambda: number(0.05, [0, 1e3], "strength of the anchor: 0.05 in the paper, 0.03 for bf16"),
  },
  form: ({ lambda }, inputs) => anchored(dft.form({}, inputs), lambda, inputs.kl_ref),
  modifiers: MODIFIERS,
})

/**
 * SFT, held to the frozen base model (mode `sft+kl` of ASFT's code).
 *
 *     loss = c + lambda KL(pi_ref || pi_theta)
 */
export const sftKl = defineObjective({
  name: "sft-kl",
  formula: "c + lambda KL(ref || policy)",
  parameters: { lambda: number(0.05, [0, 1e3], "strength of the anchor") },
  form: ({ lambda }, inputs) => anchored(sft.form({}, inputs), lambda, inputs.kl_ref),
  modifiers: ["ramp"],
  refusal: "its weights are 1 already",
})

function anchored<Base extends object>(
  form: Base,
  lambda: number,
  klRef: Expression,
): Base & { readonly anchor?: Expression } {
  return lambda === 0 ? form : { ...form, anchor: klRef.times(lambda) }
}
