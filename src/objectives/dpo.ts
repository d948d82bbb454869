import { defineObjective, number } from "./definition.ts"

/**
 * Direct preference optimisation (arXiv 2305.18290, equation 7), a loss of pairs:
 *
 *     loss = -(1 - s) ln sigmoid(beta m) - s ln sigmoid(-beta m),
 *     m = sum_chosen (ln pi - ln pi_ref) - sum_rejected (ln pi - ln pi_ref)
 *
 * A pair couples two sequences, so the margin m is computed in float64 from a first forward pass (`dpoPair`), and the gradient
 * is then exactly that of this per-token expression,
 *
 *     -A logp,   A = -d loss / d m on the chosen tokens and its negative on the rejected ones,
 *
 * whose value is not DPO's: report `dpoPair`'s loss. The step's sum is divided by the number of pairs.
 */
export const dpo = defineObjective({
  name: "dpo",
  formula: "-ln sigmoid(beta (margin of chosen over rejected, against the reference))",
  parameters: {
    beta: number(0.1, [1e-6, 1e3], "how strongly the policy is held to the reference"),
    label_smoothing: number(0, [0, 0.5], "s: share of pairs assumed to be labelled wrongly"),
  },
  form: (_values, { advantage, logp }) => ({ direct: advantage.times(logp).negate() }),
  modifiers: [],
  signed: true,
  refusal: "it is a loss of pairs, its tokens have no weights of their own",
})

export interface DpoPair {
  /** The pair's loss, nats. */
  readonly loss: number
  /** beta m: the implicit reward of the chosen over the rejected completion. */
  readonly rewardMargin: number
  /** `advantage` of the chosen tokens; the rejected ones take its negative. */
  readonly advantage: number
}

/** A pair's loss and token advantages from the four sequence log-probabilities (sums over supervised tokens, nats). */
export function dpoPair(
  { chosen, rejected }: { readonly chosen: number; readonly rejected: number },
  reference: { readonly chosen: number; readonly rejected: number },
  { beta, labelSmoothing = 0 }: { readonly beta: number; readonly labelSmoothing?: number },
): DpoPair {
  const margin = chosen - reference.chosen - (rejected - reference.rejected)
  const rewardMargin = beta * margin
  // ln sigmoid(x) = -softplus(-x), without overflow on either side.
  const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))
  const sigmoid = (x: number) => Math.exp(-softplus(-x))
  const right = 1 - labelSmoothing
  return {
    loss: right * softplus(-rewardMargin) + labelSmoothing * softplus(rewardMargin),
    rewardMargin,
    advantage: beta * (right * sigmoid(-rewardMargin) - labelSmoothing * sigmoid(rewardMargin)),
  }
}
