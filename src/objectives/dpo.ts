import { choice, defineObjective, flag, number } from "./definition.ts"
import { constant, type Expression, where } from "./expression.ts"
import { IMPLICIT_REWARD } from "./objective.ts"
import {
  type PairOf,
  pairForm,
  pairOf,
  type Sides,
  softplus,
  withChosenTerm,
} from "./pair-losses.ts"

export const OF_PAIRS = "it is a loss of pairs, its tokens have no weights of their own"

/**
 * The term that learns the chosen answers by themselves, of every loss of pairs that can have it.
 */
export const CHOSEN_TERM = {
  sft: number(0, [0, 1e3], "strength of the chosen answers' own loss, a mean over their tokens"),
  sft_weight: choice(
    ["nll", "dft"],
    "the chosen answers' own loss: the NLL, or DFT's, which leaves what the model finds unlikely alone",
  ),
}

const LOSSES = ["sigmoid", "ipo", "hinge", "robust", "apo-zero", "apo-down", "nca"] as const

/**
 * Direct preference optimisation and its relatives. With h the sum over an answer's tokens of
 * ln pi - ln pi_ref, m = h_chosen - h_rejected and z = beta m, the loss of a pair is
 *
 *     sigmoid   (1 - s) softplus(-z) + s softplus(z)                 arXiv 2305.18290, equation 7; s: conservative DPO
 *     robust    ((1 - s) softplus(-z) - s softplus(z)) / (1 - 2 s)   arXiv 2403.00409; may be negative
 *     hinge     max(0, 1 - z)                                        SLiC, RSO (arXiv 2309.06657)
 *     ipo       (m - 1 / (2 beta))^2, h being means                  arXiv 2310.12036, by the token as TRL has it
 *     apo-zero  1 - sigmoid(beta h_chosen) + sigmoid(beta h_rejected)     arXiv 2408.06266
 *     apo-down  sigmoid(beta h_chosen) + 1 - sigmoid(z)
 *     nca       softplus(-a) + softplus(a) / 2 + softplus(b) / 2,  a, b = beta h of the two   arXiv 2402.05369
 *
 * `length_normalized` takes means in place of sums. `ld_alpha` weighs the tokens past the shorter
 * answer's length (LD-DPO, arXiv 2409.06411). `reference: none` leaves ln pi_ref out. The chosen
 * answers' own loss (`sft`) is RPO's NLL, or with `sft_weight: dft` DFT's.
 *
 * Where only sums of a margin count, the gradients of a prefix that both answers share cancel.
 */
export const dpo = defineObjective({
  name: "dpo",
  formula: "-ln sigmoid(beta (margin of chosen over rejected, against the reference))",
  trainsOn: "pairs",
  normalizations: ["pairs"],
  parameters: {
    loss: choice(LOSSES, "what is made of the margin"),
    beta: number(0.1, [1e-6, 1e3], "how strongly the policy is held to the reference"),
    label_smoothing: number(0, [0, 0.5], "s: share of pairs assumed to be labelled wrongly"),
    reference: choice(["model", "none"], "what the policy is compared with: the model as it was"),
    length_normalized: flag(null, "means over an answer's tokens in place of sums; ipo's default"),
    ld_alpha: number(1, [0, 1], "weight of the tokens past the shorter answer's length"),
    ...CHOSEN_TERM,
  },
  form: (values, inputs) => {
    const { beta, loss, label_smoothing, reference } = values
    const pair = pairOf(inputs)
    const logRatio = reference === "none" ? inputs.logp : inputs.logp.minus(inputs.ref_logp)
    const terms = lengthWeighted(logRatio, pair, inputs.position, values.ld_alpha)
    const means = values.length_normalized ?? loss === "ipo"
    const h = means ? pair.means(terms) : pair.sums(terms)
    const form = pairForm(PAIR_LOSS[loss](h, { beta, s: label_smoothing }), pair)
    return {
      ...withChosenTerm(form, pair, inputs, values),
      measures: { [IMPLICIT_REWARD]: logRatio.detach().sequenceSum().times(beta) },
    }
  },
  modifiers: [],
  signed: true,
  refusal: OF_PAIRS,
  conflict: ({ loss, label_smoothing }) => {
    if (label_smoothing > 0 && loss !== "sigmoid" && loss !== "robust") {
      const message = `loss ${loss} has none, only sigmoid and robust do; take it out`
      return { key: "label_smoothing", message }
    }
    if (loss === "robust" && label_smoothing === 0.5) {
      return { key: "label_smoothing", message: "robust divides by 1 - 2 s; take less than 0.5" }
    }
    return undefined
  },
})

interface MarginSettings {
  readonly beta: number
  /** Label smoothing. */
  readonly s: number
}

type MarginLoss = (h: Sides, settings: MarginSettings) => Expression

const margin = ({ chosen, rejected }: Sides, beta: number) => chosen.minus(rejected).times(beta)

const PAIR_LOSS: { readonly [Name in (typeof LOSSES)[number]]: MarginLoss } = {
  sigmoid: (h, { beta, s }) => smoothedSigmoid(margin(h, beta), s),
  robust: (h, { beta, s }) => {
    const z = margin(h, beta)
    if (s === 0) return softplus(z.negate())
    return softplus(z.negate())
      .times(1 - s)
      .minus(softplus(z).times(s))
      .over(1 - 2 * s)
  },
  hinge: (h, { beta }) => constant(1).minus(margin(h, beta)).max(0),
  ipo: (h, { beta }) => square(margin(h, 1).minus(1 / (2 * beta))),
  "apo-zero": ({ chosen, rejected }, { beta }) =>
    constant(1).minus(chosen.times(beta).sigmoid()).plus(rejected.times(beta).sigmoid()),
  "apo-down": (h, { beta }) =>
    h.chosen.times(beta).sigmoid().plus(1).minus(margin(h, beta).sigmoid()),
  nca: ({ chosen, rejected }, { beta }) => {
    const [a, b] = [chosen.times(beta), rejected.times(beta)]
    return softplus(a.negate()).plus(softplus(a).times(0.5)).plus(softplus(b).times(0.5))
  },
}

const square = (x: Expression) => x.times(x)

/** -(1 - s) ln sigmoid(z) - s ln sigmoid(-z). */
export function smoothedSigmoid(z: Expression, s: number): Expression {
  if (s === 0) return softplus(z.negate())
  return softplus(z.negate())
    .times(1 - s)
    .plus(softplus(z).times(s))
}

/** Tokens past the length of the shorter answer count `alpha`. */
function lengthWeighted(
  terms: Expression,
  { lengths }: PairOf,
  position: Expression,
  alpha: number,
): Expression {
  if (alpha === 1) return terms
  const shorter = lengths.chosen.min(lengths.rejected)
  return where(position.less(shorter), terms, terms.times(alpha))
}
