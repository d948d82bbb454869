import { defineObjective, number } from "./definition.ts"
import { IMPLICIT_REWARD } from "./objective.ts"
import { pairForm, pairOf, softplus } from "./pair-losses.ts"

/**
 * A reward model by Bradley and Terry: with s the score of a whole text, and m the margin by which
 * the row says that the chosen one is better (0 where it says none),
 *
 *     -ln sigmoid(s_chosen - s_rejected - m) + c (s_chosen + s_rejected)^2
 *
 * Llama 2 (arXiv 2307.09288, equation 2) for the margin; c centres the scores, which a difference
 * alone leaves free to drift (arXiv 2312.09244). A text has one score, at its last token.
 */
export const rewardModel = defineObjective({
  name: "reward",
  formula: "-ln sigmoid(s_chosen - s_rejected - margin) + c (s_chosen + s_rejected)^2",
  trainsOn: "scores",
  normalizations: ["pairs"],
  parameters: {
    center_rewards_coefficient: number(0, [0, 1e3], "c: how strongly scores are held around 0"),
  },
  form: ({ center_rewards_coefficient: c }, inputs) => {
    const pair = pairOf(inputs)
    const { chosen, rejected } = pair.sums(inputs.score)
    const preference = softplus(chosen.minus(rejected).minus(inputs.margin).negate())
    const both = chosen.plus(rejected)
    const loss = c === 0 ? preference : preference.plus(both.times(both).times(c))
    return { ...pairForm(loss, pair), measures: { [IMPLICIT_REWARD]: inputs.score.detach() } }
  },
  modifiers: [],
  signed: true,
  refusal: "it scores whole texts, tokens have no weights",
})
