import { defineObjective } from "./definition.ts"
import { constant } from "./expression.ts"

/**
 * Supervised fine-tuning: the negative log-likelihood of each target.
 *
 *     loss = c,   c = -ln p
 *
 * Gradient on the logits: softmax(z) - onehot(y).
 */
export const sft = defineObjective({
  name: "sft",
  formula: "c",
  parameters: {},
  form: () => ({ weight: constant(1) }),
  modifiers: [],
  refusal: "its weights are 1 already",
})

/**
 * Rejection-sampling fine-tuning (RAFT): SFT on samples that were graded correct (`dftune
 * generate`, `dftune grade --keep correct`). The difference lies in the data alone.
 */
export const rft = defineObjective({ ...sft, name: "rft" })
