import { wilsonInterval } from "../grading/wilson.ts"
import { randomStream } from "../random.ts"

export { meanPassAtK, passAtK } from "../grading/pass-at-k.ts"

/** Correct answers of one problem, in the order of its samples. */
export type Outcomes = readonly boolean[]

const mean = (values: readonly number[]): number =>
  values.length === 0 ? Number.NaN : values.reduce((a, b) => a + b, 0) / values.length

/** Mean over problems of the share of correct samples, 0 to 1. */
export const averageAtN = (problems: readonly Outcomes[]): number => mean(problemScores(problems))

const problemScores = (problems: readonly Outcomes[]): number[] =>
  problems.map((outcomes) => mean(outcomes.map(Number)))

/** One sample's answer, for voting. Correct answers are one party, whatever their writing. */
export interface Vote {
  readonly answer: string | null
  readonly correct: boolean
}

/**
 * Whether the commonest answer is correct; samples without an answer abstain; a tie goes to the
 * first seen.
 */
export function majorityCorrect(votes: readonly Vote[]): boolean {
  const counts = new Map<string, number>()
  for (const { answer, correct } of votes) {
    if (answer === null && !correct) continue
    const party = correct ? "correct" : `wrong: ${answer!.replace(/[\s$]|\\[,!;]/g, "")}`
    counts.set(party, (counts.get(party) ?? 0) + 1)
  }
  const most = Math.max(0, ...counts.values())
  return [...counts].find(([, count]) => count === most)?.[0] === "correct"
}

/**
 * The paper's figure: each sample column's accuracy in percent rounded to one decimal, then their
 * mean (docs/method.md, 1.4). 0 to 100.
 */
export function paperScore(problems: readonly Outcomes[]): number {
  const columns = problems.reduce(
    (least, outcomes) => Math.min(least, outcomes.length),
    Number.POSITIVE_INFINITY,
  )
  const accuracies = Array.from({ length: columns }, (_, column) => {
    const correct = problems.filter((outcomes) => outcomes[column]).length
    return Math.round((1000 * correct) / problems.length) / 10
  })
  return mean(accuracies)
}

export type Interval = readonly [low: number, high: number]

interface BootstrapOptions {
  readonly seed?: number
  readonly resamples?: number
}

const quantile = (sorted: readonly number[], q: number): number => {
  const at = q * (sorted.length - 1)
  const below = Math.floor(at)
  const above = Math.min(below + 1, sorted.length - 1)
  return sorted[below]! + (at - below) * (sorted[above]! - sorted[below]!)
}

/** Means of resamples of the values with replacement, sorted. */
function bootstrapMeans(
  values: readonly number[],
  { seed = 0, resamples = 2_000 }: BootstrapOptions,
): number[] {
  const uniform = randomStream(seed, "bootstrap")
  const means = Array.from({ length: resamples }, () => {
    let sum = 0
    for (let i = 0; i < values.length; i++) sum += values[Math.floor(uniform() * values.length)]!
    return sum / values.length
  })
  return means.sort((a, b) => a - b)
}

/**
 * 95 % percentile interval of avg@n, resampling problems (not samples: those of a problem are
 * alike). Where every sample is wrong, or every one right, resampling tells nothing: then it is
 * Wilson's interval over the problems.
 */
export function bootstrapInterval(
  problems: readonly Outcomes[],
  options: BootstrapOptions = {},
): Interval {
  if (problems.length === 0) return [Number.NaN, Number.NaN]
  const scores = problemScores(problems)
  const [first] = scores
  if ((first === 0 || first === 1) && scores.every((score) => score === first)) {
    return wilsonInterval(first, scores.length)
  }
  const means = bootstrapMeans(scores, options)
  return [quantile(means, 0.025), quantile(means, 0.975)]
}

/**
 * 95 % percentile interval of the ratio sum(a) / sum(b) over the rows both have, drawn together: a
 * mean per token whose rows are of different lengths.
 */
export function ratioInterval(
  rows: readonly { readonly sum: number; readonly count: number }[],
  { seed = 0, resamples = 2_000 }: BootstrapOptions = {},
): Interval {
  const uniform = randomStream(seed, "bootstrap ratio")
  const ratios = Array.from({ length: resamples }, () => {
    let [sum, count] = [0, 0]
    for (let i = 0; i < rows.length; i++) {
      const row = rows[Math.floor(uniform() * rows.length)]!
      sum += row.sum
      count += row.count
    }
    return sum / count
  }).sort((a, b) => a - b)
  return [quantile(ratios, 0.025), quantile(ratios, 0.975)]
}

export interface Difference {
  /** Mean of b minus mean of a, over the problems both have. */
  readonly difference: number
  readonly ci95: Interval
  /** Twice the smaller tail of the bootstrap beyond zero. */
  readonly p: number
  readonly problems: number
  /** Whether the interval leaves zero out. */
  readonly exceedsNoise: boolean
}

/** Paired bootstrap over problems: the same problems are drawn for both sides. */
export function pairedDifference(
  a: ReadonlyMap<string, Outcomes>,
  b: ReadonlyMap<string, Outcomes>,
  options: BootstrapOptions = {},
): Difference {
  const both = [...a.keys()].filter((id) => b.has(id)).sort()
  const differences = both.map((id) => mean(b.get(id)!.map(Number)) - mean(a.get(id)!.map(Number)))
  if (both.length === 0) {
    return {
      difference: Number.NaN,
      ci95: [Number.NaN, Number.NaN],
      p: 1,
      problems: 0,
      exceedsNoise: false,
    }
  }
  const means = bootstrapMeans(differences, options)
  const ci95: Interval = [quantile(means, 0.025), quantile(means, 0.975)]
  const tail = Math.min(
    means.filter((value) => value <= 0).length,
    means.filter((value) => value >= 0).length,
  )
  return {
    difference: mean(differences),
    ci95,
    p: Math.min(1, (2 * tail) / means.length),
    problems: both.length,
    exceedsNoise: ci95[0] > 0 || ci95[1] < 0,
  }
}
