import {
  type Conflict,
  choice,
  defineObjective,
  number,
  type ParameterValues,
} from "./definition.ts"
import type { ObjectiveInputs } from "./objective.ts"
import {
  CLIP,
  clipMeasures,
  clippedSurrogate,
  KL_ESTIMATES,
  KL_PENALTY_MEANING,
  klEstimate,
  SIGNED,
  sequenceRatio,
  tokenRatio,
} from "./policy-gradient.ts"
import { valueLoss, valueMeasures } from "./value-loss.ts"

const PPO_PARAMETERS = {
  ...CLIP,
  dual_clip: number(0, [0, 1e3], "largest ratio where A < 0, above 1 + e_high; 0 bounds none"),
  entropy: number(0, [0, 10], "bonus for the entropy of the next-token distribution"),
}

const CRITIC_PARAMETERS = {
  ...PPO_PARAMETERS,
  value_coefficient: number(
    0,
    [0, 1e3],
    "weight of the value loss; above 0 the model has a value head, and advantages are GAE's; 0.1 is usual",
  ),
  value_clip: number(0.5, [0, 1e3], "how far a value may go from what it was; 0 clips none"),
  gamma: number(1, [0, 1], "GAE's: how much less a reward counts a token later"),
  lambda: number(0.95, [0, 1], "GAE's: 1 goes by what came, 0 by what the value head says"),
}

/**
 * PPO (arXiv 1707.06347, equation 7). The advantages come with the tokens: without a critic the
 * rewards, less their group's mean and whitened; with one (`value_coefficient` above 0) GAE's,
 * whitened.
 *
 *     loss = -min(r A, clip(r, 1 - e, 1 + e_high) A) + c_V L_V,   r = pi_theta / pi_old
 *
 * L_V is the clipped value loss of a second head on the same trunk.
 */
export const ppo = defineObjective({
  name: "ppo",
  formula: "-min(r A, clip(r, 1-e, 1+e_high) A) [+ c (V - G)^2 / 2], r = pi / pi_old",
  trainsOn: "rollouts",
  normalizations: ["tokens", "sequences", "sequence_sums", "max_tokens"],
  advantage: { baseline: "group", scale: "none", whiten: true },
  parameters: CRITIC_PARAMETERS,
  form: (values, inputs) => {
    const { value_coefficient: coefficient, value_clip: clip } = values
    const form = clippedForm(values, inputs)
    if (coefficient === 0) return form
    const learnt = valueLoss(inputs, clip).times(coefficient)
    return {
      ...form,
      anchor: form.anchor ? form.anchor.plus(learnt) : learnt,
      measures: { ...form.measures, ...valueMeasures(inputs, clip) },
    }
  },
  modifiers: [],
  signed: true,
  refusal: SIGNED,
  conflict: (values) => clipConflict(values),
})

const GRPO_PARAMETERS = {
  ...PPO_PARAMETERS,
  beta: number(0, [0, 1e3], "strength of the KL penalty; 0 needs no reference"),
  kl: choice(KL_ESTIMATES, KL_PENALTY_MEANING),
  level: choice(["token", "sequence"], "a ratio for each token, or one for the whole answer"),
}

type GrpoValues = ParameterValues<typeof GRPO_PARAMETERS>

/**
 * GRPO (DeepSeekMath, arXiv 2402.03300, equations 3 and 4): the clipped surrogate with advantages
 * relative to the group of samples of one prompt, and an optional KL penalty on the sampled token.
 *
 *     loss = -min(r A, clip(r, 1 - e, 1 + e_high) A) + beta KL(pi || ref)
 *
 * The paper averages per sequence, which gives the tokens of long answers less weight each.
 * beta = 0 needs no reference.
 */
export const grpo = defineObjective({
  name: "grpo",
  formula: "-min(r A, clip(r, 1-e, 1+e_high) A) + beta KL(policy || ref)",
  trainsOn: "rollouts",
  normalizations: ["sequences", "tokens", "sequence_sums", "max_tokens"],
  advantage: { baseline: "group", scale: "group" },
  parameters: GRPO_PARAMETERS,
  form: grpoForm,
  modifiers: [],
  signed: true,
  refusal: SIGNED,
  conflict: (values) => clipConflict(values),
})

/**
 * Dr. GRPO (arXiv 2503.20783): no division by the group's deviation, nor by the answer's length.
 */
export const drGrpo = defineObjective({
  ...grpo,
  name: "dr-grpo",
  formula: "grpo without the deviation, over (sequences x max_new_tokens)",
  normalizations: ["max_tokens", "tokens", "sequences", "sequence_sums"],
  advantage: { baseline: "group", scale: "none" },
})

/** DAPO (arXiv 2503.14476): clips higher above, and divides by all tokens. */
export const dapo = defineObjective({
  ...grpo,
  name: "dapo",
  formula: "grpo with e_high 0.28, over tokens",
  normalizations: ["tokens", "sequences", "sequence_sums", "max_tokens"],
  parameters: {
    ...GRPO_PARAMETERS,
    epsilon_high: { ...CLIP.epsilon_high, default: 0.28 },
  },
})

/** GSPO (arXiv 2507.18071): one ratio for the whole answer, exp of the mean of its log-ratios. */
export const gspo = defineObjective({
  ...grpo,
  name: "gspo",
  formula: "grpo with r = exp(mean ln(pi / pi_old)) of the sequence",
  parameters: {
    ...GRPO_PARAMETERS,
    epsilon: { ...CLIP.epsilon, default: 3e-4 },
    epsilon_high: { ...CLIP.epsilon_high, default: 4e-4 },
    level: choice(["sequence", "token"], "one ratio for the whole answer, or one for each token"),
  },
})

/** The clipped surrogate with its entropy bonus. */
function clippedForm(
  { epsilon, epsilon_high, dual_clip, entropy }: ParameterValues<typeof PPO_PARAMETERS>,
  inputs: ObjectiveInputs,
  ratio = tokenRatio(inputs),
) {
  const direct = clippedSurrogate(ratio, inputs.advantage, epsilon, epsilon_high, dual_clip)
  const measures = clipMeasures(inputs, { epsilon, epsilon_high }, ratio)
  if (entropy === 0) return { direct, measures }
  return { direct, anchor: inputs.entropy.times(-entropy), measures }
}

function grpoForm(values: GrpoValues, inputs: ObjectiveInputs) {
  const { beta, kl, level } = values
  const ratio = level === "sequence" ? sequenceRatio(inputs, "mean") : tokenRatio(inputs)
  const form = clippedForm(values, inputs, ratio)
  if (beta === 0) return form
  const estimate = klEstimate(inputs, kl)
  const penalty = estimate.times(beta)
  return {
    ...form,
    anchor: form.anchor ? form.anchor.plus(penalty) : penalty,
    measures: { ...form.measures, kl_estimate: estimate.detach() },
  }
}

function clipConflict({
  epsilon_high,
  dual_clip,
}: {
  readonly epsilon_high: number
  readonly dual_clip: number
}): Conflict | undefined {
  if (dual_clip === 0 || dual_clip > 1 + epsilon_high) return undefined
  const message = `${dual_clip} would bind before the clip does; take more than 1 + epsilon_high, or 0 for none`
  return { key: "dual_clip", message }
}
