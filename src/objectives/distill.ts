/** Learning from a teacher on the model's own samples. */
import { defineObjective, number, type ParameterValues } from "./definition.ts"
import type { ObjectiveInputs } from "./objective.ts"
import { MOST, ratioMeasures, SIGNED, tokenRatio } from "./policy-gradient.ts"

const cap = number(2, [1, 1e6], "the largest ratio to the policy that sampled")
const PARAMETERS = {
  cap,
  beta: number(
    Number.NaN,
    [0, 1],
    "the whole vocabulary in place of the sampled token: 0 KL(teacher || policy), 1 KL(policy || teacher), between them GKD's Jensen-Shannon divergence; left out: the sampled token",
  ),
}

function distilled({ cap, beta }: ParameterValues<typeof PARAMETERS>, inputs: ObjectiveInputs) {
  return Number.isNaN(beta) ? pulled({ cap }, inputs) : overVocabulary(inputs)
}

/**
 * GKD's own loss knows no ratio: its gradient is exact whichever policy chose the tokens before.
 */
function overVocabulary(inputs: ObjectiveInputs) {
  const { advantage_abs: _none, ...measures } = ratioMeasures(inputs, tokenRatio(inputs))
  return {
    direct: inputs.jsd_ref,
    measures: {
      ...{ ...measures, teacher_jsd: inputs.jsd_ref },
      teacher_gap: inputs.old_logp.minus(inputs.ref_logp),
    },
  }
}

function pulled({ cap }: { readonly cap: number }, inputs: ObjectiveInputs) {
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
 * On-policy distillation by the sampled token: the policy's own samples, each token pulled by how
 * much likelier the teacher finds it.
 *
 *     loss = -sg(min(r, cap) (ln teacher - ln p)) ln p
 *
 * Its expected gradient is that of KL(policy || teacher) of each token, later tokens left out.
 *
 * With `beta` the sum over the whole vocabulary in its place: GKD (arXiv 2306.13649), the
 * generalised Jensen-Shannon divergence of each token of the policy's own samples, on policy
 * altogether (the paper's lambda 1), at the temperature of sampling.
 *
 *     loss = beta KL(teacher || m) + (1 - beta) KL(p || m),   m = (1 - beta) p + beta teacher
 */
export const distill = defineObjective({
  name: "distill",
  formula:
    "-sg(min(r, cap) (ln ref - ln p)) ln p on the model's own samples, ref the teacher; with beta GKD's JSD(ref, p) over the vocabulary",
  trainsOn: "rollouts",
  normalizations: ["tokens", "sequences", "sequence_sums", "max_tokens"],
  advantage: { baseline: "none", scale: "none" },
  teacher: "model",
  parameters: PARAMETERS,
  form: distilled,
  conflict: ({ cap, beta }) =>
    Number.isNaN(beta) || cap === 2
      ? undefined
      : {
          key: "cap",
          message: "bounds the sampled token's ratio, and beta has no ratio; leave one out",
        },
  modifiers: [],
  signed: true,
  refusal: SIGNED,
})

/**
 * SDFT (arXiv 2601.19897), in its sampled form: the teacher is the model itself with the prompt's
 * demonstration in its context. The paper's own loss sums over the vocabulary, and its teacher may
 * be a moving average of the policy; neither is here.
 */
export const selfDistill = defineObjective({
  ...distill,
  parameters: { cap },
  form: pulled,
  conflict: () => undefined,
  name: "self-distill",
  formula: "distill, the teacher the same model with the prompt's demonstration in its context",
  teacher: "itself",
})
