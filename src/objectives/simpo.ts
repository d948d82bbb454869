import { defineObjective, number } from "./definition.ts"
import { CHOSEN_TERM, OF_PAIRS, smoothedSigmoid } from "./dpo.ts"
import { IMPLICIT_REWARD } from "./objective.ts"
import { pairForm, pairOf, softplus, withChosenTerm } from "./pair-losses.ts"

/**
 * SimPO (arXiv 2405.14734, equation 6): the answers' mean log-probabilities a, without a reference.
 *
 *     loss = -ln sigmoid(beta (a_chosen - a_rejected) - gamma)
 *
 * gamma is taken off after beta: the target margin of the mean log-probabilities is gamma / beta.
 * The chosen answers' own loss is left out, as in the paper; TRL's CPO trainer adds it unless told
 * not to.
 */
export const simpo = defineObjective({
  name: "simpo",
  formula: "-ln sigmoid(beta (mean ln p of chosen - mean ln p of rejected) - gamma)",
  trainsOn: "pairs",
  normalizations: ["pairs"],
  parameters: {
    beta: number(2.5, [1e-6, 1e3], "scale of the margin"),
    gamma: number(1.375, [0, 1e3], "margin that the chosen answer is to have, after beta"),
    ...CHOSEN_TERM,
  },
  form: (values, inputs) => {
    const { beta, gamma } = values
    const pair = pairOf(inputs)
    const { chosen, rejected } = pair.means(inputs.logp)
    const loss = softplus(chosen.minus(rejected).times(-beta).plus(gamma))
    return {
      ...withChosenTerm(pairForm(loss, pair), pair, inputs, values),
      measures: { [IMPLICIT_REWARD]: inputs.logp.detach().sequenceMean().times(beta) },
    }
  },
  modifiers: [],
  signed: true,
  refusal: OF_PAIRS,
})

/**
 * Contrastive preference optimisation (arXiv 2401.08417): DPO without a reference, and the chosen
 * answers' own NLL.
 *
 *     loss = -ln sigmoid(beta (s_chosen - s_rejected)) + sft NLL(chosen),   s = sum of ln p
 */
export const cpo = defineObjective({
  name: "cpo",
  formula: "-ln sigmoid(beta (ln p of chosen - ln p of rejected)) + sft c of chosen",
  trainsOn: "pairs",
  normalizations: ["pairs"],
  parameters: {
    beta: number(0.1, [1e-6, 1e3], "scale of the margin"),
    label_smoothing: number(0, [0, 0.5], "share of pairs assumed to be labelled wrongly"),
    ...CHOSEN_TERM,
    sft: { ...CHOSEN_TERM.sft, default: 1 },
  },
  form: (values, inputs) => {
    const { beta, label_smoothing } = values
    const pair = pairOf(inputs)
    const { chosen, rejected } = pair.sums(inputs.logp)
    const loss = smoothedSigmoid(chosen.minus(rejected).times(beta), label_smoothing)
    return {
      ...withChosenTerm(pairForm(loss, pair), pair, inputs, values),
      measures: { [IMPLICIT_REWARD]: inputs.logp.detach().sequenceSum().times(beta) },
    }
  },
  modifiers: [],
  signed: true,
  refusal: OF_PAIRS,
})
