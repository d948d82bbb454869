export interface DpoPair {
  /** The pair's loss, nats. */
  readonly loss: number
  /** beta m: the implicit reward of the chosen over the rejected completion. */
  readonly rewardMargin: number
  /**
   * -d loss / d m: what each chosen token's logp is pushed by, and each rejected one's by its
   * negative.
   */
  readonly advantage: number
}

/** DPO of one pair from its four sequence log-probabilities (sums over supervised tokens, nats). */
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
