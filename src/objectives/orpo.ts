import { defineObjective, number } from "./definition.ts"
import { OF_PAIRS } from "./dpo.ts"
import { constant, type Expression } from "./expression.ts"
import { IMPLICIT_REWARD } from "./objective.ts"
import { pairForm, pairOf, softplus, withChosenTerm } from "./pair-losses.ts"

/** Least 1 - e^a: an answer of certain tokens has a = 0, and odds without bound. */
const LEAST = 1e-6

/**
 * Odds-ratio preference optimisation (arXiv 2403.07691, equations 6 and 7), without a reference.
 * With a an answer's mean log-probability and its log-odds a - ln(1 - e^a),
 *
 *     loss = NLL(chosen) + lambda softplus(-(odds_chosen - odds_rejected))
 *
 * The NLL is over the chosen answer's own tokens; TRL's trainer takes the prompt's with it.
 */
export const orpo = defineObjective({
  name: "orpo",
  formula: "c of chosen - lambda ln sigmoid(log-odds of chosen - log-odds of rejected)",
  trainsOn: "pairs",
  normalizations: ["pairs"],
  parameters: { lambda: number(0.1, [0, 1e3], "strength of the odds ratio") },
  form: ({ lambda }, inputs) => {
    const pair = pairOf(inputs)
    const { chosen, rejected } = pair.means(inputs.logp)
    const loss = softplus(logOdds(rejected).minus(logOdds(chosen))).times(lambda)
    return {
      ...withChosenTerm(pairForm(loss, pair), pair, inputs, { sft: 1, sft_weight: "nll" }),
      measures: { [IMPLICIT_REWARD]: inputs.logp.detach().sequenceMean().times(lambda) },
    }
  },
  modifiers: [],
  signed: true,
  refusal: OF_PAIRS,
})

const logOdds = (a: Expression) => a.minus(constant(1).minus(a.exp()).max(LEAST).log())
