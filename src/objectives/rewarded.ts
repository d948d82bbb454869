import { defineObjective, MODIFIERS, number } from "./definition.ts"
import { where } from "./expression.ts"

/**
 * Reward-weighted regression (Peters and Schaal 2007; AWR, arXiv 1910.00177): SFT in which better
 * answers to a prompt count for more.
 *
 *     loss = w c,   w proportional to exp((R - R_max) / tau), of mean 1 over the answers to a prompt, at most cap
 *
 * The weights are made of the rows' rewards before training. tau -> 0 is the best answer alone,
 * tau -> infinity SFT on all.
 */
export const rwr = defineObjective({
  name: "rwr",
  formula: "w c, w = exp((R - R_max) / tau) of mean 1 over a prompt's answers",
  trainsOn: "rewards",
  parameters: {
    tau: number(1, [1e-6, 1e6], "how much a difference of rewards counts: less is more selective"),
    cap: number(20, [1, 1e6], "largest weight"),
  },
  form: (_values, { row_weight }) => ({ weight: row_weight }),
  modifiers: MODIFIERS,
})

/**
 * REINFORCE on samples made earlier: good answers are pulled up, bad ones pushed down.
 *
 *     loss = -A ln p,   A = R - mean R of the answers to the same prompt
 *
 * -A ln p has no floor for A < 0: tokens that have become less likely than `floor` are let go.
 */
export const offlinePg = defineObjective({
  name: "offline-pg",
  formula: "-A ln p, 0 where A < 0 and p < floor",
  trainsOn: "rewards",
  parameters: {
    floor: number(
      1e-4,
      [0, 1],
      "probability below which a bad answer's token is pushed no further",
    ),
  },
  form: ({ floor }, { advantage, logp, p }) => {
    const spent = advantage.less(0).times(p.less(floor))
    return { direct: where(spent, 0, advantage.times(logp).negate()) }
  },
  modifiers: [],
  signed: true,
  refusal: "its weights carry the advantages' sign",
})
