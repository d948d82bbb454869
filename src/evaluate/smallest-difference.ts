/** How small a difference between two arms a study can show. */
import { errorOf } from "./crossed-difference.ts"
import { tCritical } from "./student-t.ts"

export interface PowerAssumptions {
  /** Share of right answers. */
  readonly score: number
  /** Standard deviation over problems of the chance to be right. */
  readonly spread: number
  /** Standard deviation over problems of the difference between the arms. */
  readonly problemEffect: number
  /** Standard deviation of an arm's score over training seeds. */
  readonly seedEffect: number
}

export interface PowerSizes {
  readonly problems: number
  readonly seeds: number
  /** Samples of a problem by each trained model. */
  readonly n: number
  /** Contrasts in one family: each is held to 0.05 / contrasts, Holm's first step. */
  readonly contrasts: number
}

/** Expected mean squares of the table of differences (crossed-difference.ts). */
function expectedSquares(
  { score, spread, problemEffect, seedEffect }: PowerAssumptions,
  { problems, seeds, n }: PowerSizes,
) {
  // two samples' means, of answers that are right with a chance that varies by problem
  const rest = (2 * Math.max(score * (1 - score) - spread ** 2, 0)) / n
  return {
    rest: seeds === 1 ? 0 : rest,
    ofRows: rest + seeds * problemEffect ** 2,
    ofColumns: seeds === 1 ? 0 : rest + problems * 2 * seedEffect ** 2,
  }
}

/** The true difference that is found in about 80 of 100 such studies. */
export function smallestDifference(assumed: PowerAssumptions, sizes: PowerSizes): number {
  const { problems, seeds, contrasts } = sizes
  const { total, degreesOfFreedom } = errorOf(expectedSquares(assumed, sizes), sizes)
  const standardError = Math.sqrt(total / (problems * seeds))
  // 80 % lie above the point that |T| exceeds with 0.4
  const reach = tCritical(0.05 / contrasts, degreesOfFreedom) + tCritical(0.4, degreesOfFreedom)
  return reach * standardError
}
