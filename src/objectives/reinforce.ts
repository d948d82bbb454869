import { defineObjective, number } from "./definition.ts"
import { constant, type Expression, where } from "./expression.ts"
import { sequenceLength } from "./pair-losses.ts"
import {
  CLIP,
  clipMeasures,
  clippedSurrogate,
  ratioMeasures,
  SIGNED,
  sequenceRatio,
  tokenRatio,
} from "./policy-gradient.ts"

const ON_ROLLOUTS = {
  trainsOn: "rollouts",
  modifiers: [],
  signed: true,
  refusal: SIGNED,
} as const

/** Williams 1992: the log-probability of what was sampled, times how good it was. */
export const reinforce = defineObjective({
  ...ON_ROLLOUTS,
  name: "reinforce",
  formula: "-A ln p",
  normalizations: ["tokens", "sequences", "sequence_sums", "max_tokens"],
  advantage: { baseline: "group", scale: "none" },
  parameters: {},
  form: (_values, inputs) => ({
    direct: inputs.advantage.times(inputs.logp).negate(),
    measures: ratioMeasures(inputs),
  }),
})

/**
 * RLOO (arXiv 2402.14740): the baseline is the mean of the other samples; one ratio for the whole
 * answer, the product of its tokens', clipped, as TRL does it.
 *
 *     loss = -min(S A, clip(S, 1 - e, 1 + e_high) A) of a sequence,   S = exp(sum ln(pi / pi_old))
 *
 * Each token has the sequence's gradient through its own logp and a share 1 / n of its value.
 */
export const rloo = defineObjective({
  ...ON_ROLLOUTS,
  name: "rloo",
  formula: "-min(S A, clip(S, 1-e, 1+e_high) A), S = exp(sum ln(pi / pi_old)) of the sequence",
  normalizations: ["sequence_sums"],
  advantage: { baseline: "leave-one-out", scale: "none" },
  parameters: CLIP,
  form: ({ epsilon, epsilon_high }, inputs) => {
    const ratio = sequenceRatio(inputs, "sum")
    const direct = clippedSurrogate(ratio, inputs.advantage, epsilon, epsilon_high)
    return {
      direct,
      value: direct.detach().over(sequenceLength()),
      measures: clipMeasures(inputs, { epsilon, epsilon_high }, ratio),
    }
  },
})

/**
 * REINFORCE++ (arXiv 2501.03262): PPO's clipped surrogate, the rewards brought to mean 0 and
 * variance 1 over all tokens of the rollout in place of a group's baseline.
 */
export const reinforcePlusPlus = defineObjective({
  ...ON_ROLLOUTS,
  name: "reinforce++",
  formula: "-min(r A, clip(r, 1-e, 1+e_high) A), A whitened over tokens",
  normalizations: ["tokens", "sequences", "sequence_sums", "max_tokens"],
  advantage: { baseline: "none", scale: "none", whiten: true },
  parameters: CLIP,
  form: ({ epsilon, epsilon_high }, inputs) => ({
    direct: clippedSurrogate(tokenRatio(inputs), inputs.advantage, epsilon, epsilon_high),
    measures: clipMeasures(inputs, { epsilon, epsilon_high }),
  }),
})

/**
 * CISPO (MiniMax-M1, arXiv 2506.13585): REINFORCE whose weights are ratios, capped and detached: no
 * token is ever left out. `epsilon_max` is the largest ratio itself, as in TRL and ms-swift; verl
 * clips to 1 + epsilon, which is another bound.
 */
export const cispo = defineObjective({
  ...ON_ROLLOUTS,
  name: "cispo",
  formula: "-sg(clip(r, epsilon_min, epsilon_max)) A ln p",
  normalizations: ["tokens", "sequences", "sequence_sums", "max_tokens"],
  advantage: { baseline: "group", scale: "group" },
  parameters: {
    epsilon_max: number(5, [0, 1e6], "the largest ratio"),
    epsilon_min: number(0, [0, 1e6], "the smallest ratio"),
  },
  form: ({ epsilon_max, epsilon_min }, inputs) => {
    const { advantage, logp } = inputs
    const ratio = tokenRatio(inputs)
    const capped =
      epsilon_min === 0 ? ratio.min(epsilon_max) : ratio.clamp(epsilon_min, epsilon_max)
    return {
      direct: capped.detach().times(advantage).times(logp).negate(),
      measures: { ...ratioMeasures(inputs, ratio), clip_high: ratio.greater(epsilon_max) },
    }
  },
})

/**
 * SAPO (arXiv 2511.20347): a soft gate in place of the clip, with REINFORCE's gradient at r = 1.
 *
 *     loss = -(4 / t) sigmoid(t (r - 1)) A,   t = tau_positive where A > 0, else tau_negative
 */
export const sapo = defineObjective({
  ...ON_ROLLOUTS,
  name: "sapo",
  formula: "-(4 / t) sigmoid(t (r - 1)) A, t by the sign of A",
  normalizations: ["sequences", "tokens", "sequence_sums", "max_tokens"],
  advantage: { baseline: "group", scale: "group" },
  parameters: {
    tau_positive: number(1, [1e-6, 1e3], "how soon the gate closes where A > 0"),
    tau_negative: number(1.05, [1e-6, 1e3], "how soon it closes elsewhere"),
  },
  form: ({ tau_positive, tau_negative }, inputs) => {
    const { advantage } = inputs
    const ratio = tokenRatio(inputs)
    const t: Expression = where(advantage.greater(0), constant(tau_positive), tau_negative)
    const gate = t.times(ratio.minus(1)).sigmoid().times(constant(4).over(t))
    return { direct: gate.times(advantage).negate(), measures: ratioMeasures(inputs, ratio) }
  },
})
