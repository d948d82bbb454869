/** Learning from a teacher on the model's own samples. */
import { defineObjective, number, type ParameterValues } from "./definition.ts"
import type { ObjectiveInputs } from "./objective.ts"
import { MOST, ratioMeasures, SIGNED, tokenRatio } from "./policy-gradient.ts"

const PARAMETERS = { cap: number(2, [1, 1e6], "the largest ratio to the policy that sampled") }

function pulled({ cap }: ParameterValues<typeof PARAMETERS>, inputs: ObjectiveInputs) {
  const { logp, ref_logp, old_logp } = inputs
  const ratio = tokenRatio(inputs)
  const apart = ref_logp.minus(logp).clamp(-MOST, MOST)
  const pull = ratio.min(cap).times(apart).detach()
  const { advantage_abs: _none, ...measures } = ratioMeasures(inputs, ratio)
  return {
    direct: pull.times(logp).negate(),
    measures: { ...measures, teacher_gap: old_logp.minus(ref_logp) },
  }
}

/**
 * On-policy distillation by the sampled token: the policy's own samples, each token pulled by how much
 * likelier the teacher finds it.
 *
 *     loss = -sg(min(r, cap) (ln teacher - ln p)) ln p
 *
 * Its expected gradient is that of KL(policy || teacher) of each token, later tokens left out.
 */
export const distill = defineObjective({
  name: "distill",
  formula: "-sg(min(r, cap) (ln ref - ln p)) ln p on the model's own samples, ref the teacher",
  trainsOn: "rollouts",
  normalizations: ["tokens", "sequences", "sequence_sums", "max_tokens"],
  advantage: { baseline: "none", scale: "none" },
  teacher: "model",
  parameters: PARAMETERS,
  form: pulled,
  modifiers: [],
  signed: true,
  refusal: SIGNED,
})

/**
 * SDFT (arXiv 2601.19897), in its sampled form: the teacher is the model itself with the prompt's
 * demonstration in its context. The paper's own loss sums over the vocabulary, and its teacher may be
 * a moving average of the policy; neither is here.
 */
export const selfDistill = defineObjective({
  ...distill,
  name: "self-distill",
  formula: "distill, the teacher the same model with the prompt's demonstration in its context",
  teacher: "itself",
})
