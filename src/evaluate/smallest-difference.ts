/** How small a difference between two arms a study can show. */
import { randomStream } from "../random.ts"
import { errorOf, type MeanSquares } from "./crossed-difference.ts"
import { tCritical, tTwoSided } from "./student-t.ts"

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

const STUDIES = 500

/** A chi-square variable over its degrees of freedom; of many by Wilson and Hilferty (1931). */
function meanSquare(normal: () => number, df: number): number {
  if (df > 30) return (1 - 2 / (9 * df) + normal() * Math.sqrt(2 / (9 * df))) ** 3
  let sum = 0
  for (let i = 0; i < df; i++) sum += normal() ** 2
  return sum / df
}

/** Of the standard normal distribution, the share below x. */
function normalBelow(x: number): number {
  const tail = tTwoSided(x, 1e6) / 2
  return x < 0 ? tail : 1 - tail
}

/**
 * The true difference that is found in about 80 of 100 such studies: of 500 drawn ones, each with
 * the error and the degrees of freedom that its own mean squares give it. Infinite of one problem,
 * which says nothing of others.
 */
export function smallestDifference(assumed: PowerAssumptions, sizes: PowerSizes): number {
  const { problems, seeds, contrasts } = sizes
  const { seedEffect } = assumed
  if (problems < 2) return Number.POSITIVE_INFINITY
  const [P, S] = [problems - 1, seeds - 1]
  const expected = expectedSquares(assumed, sizes)
  const errorFrom = (squares: MeanSquares) => {
    const { total, degreesOfFreedom } = errorOf(squares, sizes)
    return { degreesOfFreedom, standardError: Math.sqrt(total / (problems * seeds)) }
  }
  const uniform = randomStream(0, "smallest difference")
  // Box and Muller
  const normal = () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform())
  const reaches = Array.from({ length: STUDIES }, () => {
    const { degreesOfFreedom, standardError } = errorFrom({
      ofRows: expected.ofRows * meanSquare(normal, P),
      ofColumns: S === 0 ? 0 : expected.ofColumns * meanSquare(normal, S),
      rest: S === 0 ? 0 : expected.rest * meanSquare(normal, P * S),
    })
    return tCritical(0.05 / contrasts, degreesOfFreedom) * standardError
  })
  // what a study measures varies with its runs, also where its intervals call them fixed
  const ofMean = expected.ofRows + problems * 2 * seedEffect ** 2
  const spread = Math.sqrt(ofMean / (problems * seeds))
  const found = (difference: number) =>
    reaches.reduce((sum, reach) => sum + normalBelow((difference - reach) / spread), 0) / STUDIES
  let [low, high] = [0, spread]
  while (found(high) < 0.8) high *= 2
  for (let i = 0; i < 30; i++) {
    const middle = (low + high) / 2
    if (found(middle) < 0.8) low = middle
    else high = middle
  }
  return high
}
