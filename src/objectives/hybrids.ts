/**
 * Demonstrations and the model's own samples in one step. `expert` is 1 on tokens of a
 * demonstration.
 */
import { choice, defineObjective, number } from "./definition.ts"
import { constant, type Expression, where } from "./expression.ts"
import type { Measures, ObjectiveInputs } from "./objective.ts"
import { CLIP, clipMeasures, clippedSurrogate, SIGNED, tokenRatio } from "./policy-gradient.ts"

const MIXED = {
  trainsOn: "rollouts",
  normalizations: ["tokens", "sequences", "sequence_sums", "max_tokens"],
  modifiers: [],
  signed: true,
  refusal: SIGNED,
  demonstrations: "beside",
} as const

interface Clip {
  readonly epsilon: number
  readonly epsilon_high: number
}

/** GRPO's loss of a token: what all of these are without demonstrations. */
function own(inputs: ObjectiveInputs, { epsilon, epsilon_high }: Clip): Expression {
  return clippedSurrogate(tokenRatio(inputs), inputs.advantage, epsilon, epsilon_high)
}

/** Beside GRPO's: the share of demonstrations' tokens, and both parts of the loss. */
function mixedMeasures(
  inputs: ObjectiveInputs,
  clip: Clip,
  parts: { readonly expert: Expression; readonly own: Expression },
): Measures {
  const { expert } = inputs
  return {
    ...clipMeasures(inputs, clip),
    expert_share: expert,
    loss_expert: where(expert, parts.expert, 0).detach(),
    loss_own: where(expert, 0, parts.own).detach(),
  }
}

/** The loss of a token by where it comes from. */
function mixed(
  inputs: ObjectiveInputs,
  clip: Clip,
  expert: Expression,
  sampled = own(inputs, clip),
) {
  return {
    direct: where(inputs.expert, expert, sampled),
    measures: mixedMeasures(inputs, clip, { expert, own: sampled }),
  }
}

/**
 * LUFFY (arXiv 2504.14945): a demonstration beside the samples of its prompt, its probabilities
 * shaped so that unlikely tokens are learnt too.
 *
 *     demonstrations: -A p / (p + g)      samples: GRPO's
 *
 * Its released script divides by the padded length and does not clip; here both are as in GRPO.
 */
export const luffyRl = defineObjective({
  ...MIXED,
  name: "luffy-rl",
  formula: "demonstrations: -A p / (p + g); samples: grpo",
  advantage: { baseline: "group", scale: "none" },
  parameters: { ...CLIP, g: number(0.1, [1e-6, 100], "probability that gets the largest weight") },
  form: ({ g, ...clip }, inputs) => {
    const { p, advantage } = inputs
    return mixed(inputs, clip, p.over(p.plus(g)).times(advantage).negate())
  },
})

/**
 * RL-PLUS (arXiv 2508.00222): the demonstration's ratio is taken to a mixture of the old policy and
 * the even chance, and what the model finds unlikely counts for more.
 *
 *     demonstrations: -A sg((1 - p)^0.5) 2 p / (p_old + (p_old + 1) / 2)      samples: GRPO's
 */
export const rlPlus = defineObjective({
  ...MIXED,
  name: "rl-plus",
  formula: "demonstrations: -A sg((1-p)^0.5) 2 p / (p_old + (p_old + 1) / 2); samples: grpo",
  advantage: { baseline: "group", scale: "group" },
  parameters: CLIP,
  form: (clip, inputs) => {
    const { p, old_logp, advantage } = inputs
    const old = old_logp.exp()
    const ratio = p.times(2).over(old.plus(old.plus(1).times(0.5)))
    const unlikely = constant(1).minus(p).max(0).sqrt().detach()
    return mixed(inputs, clip, unlikely.times(ratio).times(advantage).negate())
  },
})

/**
 * SRFT (arXiv 2506.19767), as HPT's port reads it: demonstrations are learnt the less the more
 * unsure the model is of them; of the samples good ones are pulled up by their entropy, bad ones
 * pushed down.
 *
 *     demonstrations: sft sg(e^-H) c - A p      samples: -pull sg(e^H) ln p where R > 0, else ln p
 *
 * H is the mean entropy of the token's sequence. The port's clip bounds ln p in place of a ratio,
 * so there is none here. The paper's own formula was not verified.
 */
export const srft = defineObjective({
  ...MIXED,
  name: "srft",
  formula: "demonstrations: sft sg(e^-H) c - A p; samples: -pull sg(e^H) ln p if R > 0, else ln p",
  advantage: { baseline: "group", scale: "group" },
  parameters: {
    sft: number(0.5, [0, 1e3], "strength of the demonstrations' own loss"),
    pull: number(0.1, [0, 1e3], "strength of the pull towards good samples"),
  },
  form: ({ sft, pull }, inputs) => {
    const { entropy, p, nll, logp, advantage, reward } = inputs
    const H = entropy.detach().sequenceMean()
    const expert = H.negate().exp().times(sft).detach().times(nll).minus(advantage.times(p))
    const good = H.exp().times(-pull).detach().times(logp)
    const sampled = where(reward.greater(0), good, logp)
    const { ratio, ...measures } = mixedMeasures(
      inputs,
      { epsilon: 1, epsilon_high: 1e3 },
      { expert, own: sampled },
    )
    const { clip_low: _low, clip_high: _high, ...told } = measures
    return { direct: where(inputs.expert, expert, sampled), measures: { ratio: ratio!, ...told } }
  },
})

/**
 * CHORD (arXiv 2508.11408): SFT on demonstrations fades into GRPO on samples, each divided by its
 * own tokens.
 *
 *     (1 - mu) mean over samples of GRPO's + mu mean over demonstrations of phi c,   phi = sg(p (1 - p)) or 1
 *
 * mu rises to `mu_peak` in a line over `mu_warmup` steps and falls to `mu_valley` along a cosine
 * over `mu_decay` more.
 */
export const chord = defineObjective({
  ...MIXED,
  name: "chord",
  formula:
    "(1 - mu) grpo on samples + mu sg(p (1-p)) c on demonstrations, each over its own tokens",
  normalizations: ["tokens"],
  advantage: { baseline: "group", scale: "group" },
  parameters: {
    ...CLIP,
    phi: choice(["p(1-p)", "1"], "weight of the demonstrations' NLL"),
    mu_peak: number(0.9, [0, 1], "largest share of the demonstrations"),
    mu_valley: number(0.05, [0, 1], "smallest share, at the end"),
    mu_warmup: number(0, [0, 1e9], "optimizer steps until mu_peak"),
    mu_decay: number(200, [0, 1e9], "optimizer steps from mu_peak to mu_valley"),
  },
  form: (values, inputs) => {
    const { expert, p, nll } = inputs
    const mu = chordMu(inputs.step, values)
    const phi = values.phi === "1" ? constant(1) : p.times(constant(1).minus(p)).detach()
    const all = constant(1).detach().batchSum()
    const experts = expert.detach().batchSum()
    const overOwn = (count: Expression) => all.over(count.max(1))
    const learnt = mu.times(overOwn(experts)).times(phi.times(nll))
    const sampled = constant(1)
      .minus(mu)
      .times(overOwn(all.minus(experts)))
      .times(own(inputs, values))
    const { direct, measures } = mixed(inputs, values, learnt, sampled)
    return { direct, measures: { ...measures, mu } }
  },
})

interface MuSchedule {
  readonly mu_peak: number
  readonly mu_valley: number
  readonly mu_warmup: number
  readonly mu_decay: number
}

function chordMu(step: Expression, schedule: MuSchedule): Expression {
  const { mu_peak, mu_valley, mu_warmup, mu_decay } = schedule
  const done = step.minus(1)
  const rising = mu_warmup === 0 ? constant(1) : done.over(mu_warmup).min(1)
  const fallen =
    mu_decay === 0 ? done.greaterOrEqual(mu_warmup) : done.minus(mu_warmup).over(mu_decay)
  const falling = fallen.clamp(0, 1)
  const left = constant(1).minus(square(quarterSine(falling))) // cos^2(pi x / 2)
  return rising.times(left.times(mu_peak - mu_valley).plus(mu_valley))
}

const square = (x: Expression) => x.times(x)

/** sin(pi x / 2) for x in [0, 1] by its series to the 13th power: off by 7e-10 at most. */
function quarterSine(x: Expression): Expression {
  const y = x.times(Math.PI / 2)
  const negative = square(y).negate()
  let sum: Expression = constant(1)
  for (let k = 6; k >= 1; k--)
    sum = negative
      .over(2 * k * (2 * k + 1))
      .times(sum)
      .plus(1)
  return y.times(sum)
}

/**
 * HPT (arXiv 2509.04419): a prompt that the model does not solve is learnt from its demonstration,
 * one that it solves from its samples. Which of the two a prompt gives is decided when it is
 * sampled: its demonstration where at most the share `gate` of its samples is right.
 */
export const hpt = defineObjective({
  ...MIXED,
  name: "hpt",
  formula: "demonstrations of unsolved prompts: sft c; samples of the others: grpo",
  advantage: { baseline: "group", scale: "none" },
  parameters: {
    ...CLIP,
    gate: number(
      0,
      [0, 1],
      "a prompt solved by at most this share of its samples gives its demonstration",
    ),
    sft: number(1, [0, 1e3], "strength of the demonstrations' NLL"),
  },
  form: ({ sft, gate: _gate, ...clip }, inputs) => mixed(inputs, clip, inputs.nll.times(sft)),
})

/**
 * Prefix-RFT (arXiv 2507.01679): one sample of a prompt goes on from the first tokens of its
 * demonstration, which are trained with the sample's advantage, but only where the model is unsure:
 * the share `keep` of them with the highest entropy.
 */
export const prefixRft = defineObjective({
  ...MIXED,
  demonstrations: "begun",
  name: "prefix-rft",
  formula: "grpo, of a demonstration's tokens only the share keep of highest entropy",
  normalizations: ["max_tokens", "tokens", "sequences", "sequence_sums"],
  advantage: { baseline: "group", scale: "none" },
  parameters: {
    ...CLIP,
    keep: number(0.2, [0, 1], "share of the demonstrations' tokens that is trained"),
  },
  form: ({ keep, ...clip }, inputs) => {
    const { expert, entropy } = inputs
    // Below every entropy, so that samples are ranked behind.
    const rank = where(expert, entropy, -1).detach().batchRank()
    const experts = expert.detach().batchSum()
    const kept = where(rank.less(experts.times(keep)), own(inputs, clip), 0)
    return mixed(inputs, clip, kept)
  },
})

/**
 * DFT on demonstrations, GRPO on samples: -A p has A times DFT's gradient, so LUFFY without shaping
 * is its kin.
 */
export const dftRl = defineObjective({
  ...MIXED,
  name: "dft-rl",
  formula: "demonstrations: dft sg(p) c; samples: grpo",
  advantage: { baseline: "group", scale: "group" },
  parameters: { ...CLIP, dft: number(1, [0, 1e3], "strength of the demonstrations' loss") },
  form: ({ dft, ...clip }, inputs) =>
    mixed(inputs, clip, inputs.p.detach().times(inputs.nll).times(dft)),
})
