/**
 * What a step of a reward model is told of: how probable it finds that the chosen text is the
 * better one.
 */
import type { StepColumns } from "./objective-head.ts"
import { type TokenStatistics, tokenStatistics } from "./token-statistics.ts"

/**
 * One number a pair, as others have one a token: p = sigmoid(s_chosen - s_rejected), the
 * probability that Bradley and Terry's model gives to the row's own verdict. `weight` and `loss`
 * [sequences] are the objective's, of which a pair has two.
 */
export function scoreStatistics(
  { columns, sequences }: StepColumns,
  { loss, weight }: { readonly loss: ArrayLike<number>; readonly weight: ArrayLike<number> },
): TokenStatistics {
  const { score } = columns
  const places = new Map(Array.from(sequences, (sequence, place) => [sequence, place]))
  const pairs = [...places].flatMap(([sequence, chosen]) => {
    const rejected = places.get(sequence + 1)
    return sequence % 2 === 0 && rejected !== undefined ? [{ chosen, rejected }] : []
  })
  const margins = pairs.map(({ chosen, rejected }) => score![chosen]! - score![rejected]!)
  const logp = margins.map((margin) => -softplus(-margin))
  return tokenStatistics({
    logp,
    loss: pairs.map(({ chosen, rejected }) => (loss[chosen]! + loss[rejected]!) / 2),
    weight: pairs.map(({ chosen }) => weight[chosen]!),
    tokenClass: pairs.map(() => 0),
    correct: margins.map((margin) => Number(margin > 0)),
    entropy: margins.map(coinEntropy),
  })
}

const softplus = (x: number) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)))

/** Of a choice between two with log-odds x, nats. */
const coinEntropy = (x: number) => softplus(x) - x / (1 + Math.exp(-x))
