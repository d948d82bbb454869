/** Differences that were measured on the same problems by several training runs. */
import { randomStream } from "../random.ts"
import type { Interval } from "./statistics.ts"
import { tCritical, tTwoSided } from "./student-t.ts"

/** d[p][s]: on problem p with training seed s, the value of one arm minus that of the other. */
export type DifferenceTable = readonly (readonly number[])[]

export interface CrossedDifference {
  readonly difference: number
  readonly ci95: Interval
  /** Two-sided; 1 where nothing differs anywhere. */
  readonly p: number
  readonly standardError: number
  readonly degreesOfFreedom: number
  readonly problems: number
  readonly seeds: number
  /** Whether the interval speaks of these very runs, and not of runs with other seeds. */
  readonly seedsFixed: boolean
}

const mean = (values: readonly number[]): number =>
  values.reduce((a, b) => a + b, 0) / values.length

/** Mean squares of a table by its rows, its columns and what neither explains, with their means. */
function meanSquares(table: DifferenceTable) {
  const [P, S] = [table.length, table[0]!.length]
  const rows = table.map(mean) // [P]
  const columns = Array.from({ length: S }, (_, s) => mean(table.map((row) => row[s]!))) // [S]
  const all = mean(rows)
  const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0)
  const ofRows = (S * sum(rows.map((x) => (x - all) ** 2))) / (P - 1)
  const ofColumns = S === 1 ? 0 : (P * sum(columns.map((x) => (x - all) ** 2))) / (S - 1)
  const rest = sum(
    table.flatMap((row, p) => row.map((x, s) => (x - rows[p]! - columns[s]! + all) ** 2)),
  )
  return { all, ofRows, ofColumns, rest: S === 1 ? 0 : rest / ((P - 1) * (S - 1)) }
}

/** With fewer training seeds than this, how runs vary cannot be told: seeds are called fixed. */
export const SEEDS_THAT_VARY = 5

/**
 * The mean of a table with a 95 % t interval.
 *
 *     d_ps = mu + a_p + b_s + e_ps
 *
 * Problems are a sample of many. From five seeds on, so are the seeds:
 *
 *     var(mean) = var(a) / P + var(b) / S + var(e) / PS,  estimated by (MS_a + max(MS_b - MS_e, 0)) / PS
 *
 * with Satterthwaite's (1946) degrees of freedom, at most 2S unless the runs differ far less than
 * chance has it. With fewer, the interval speaks of these very runs (seeds fixed): MS_a / PS, with
 * P - 1. Neither resampling nor a t of two to four seeds keeps its promise
 * (`npm run bench -- statistics`).
 *
 * @param bound the largest difference that there can be: 1 of shares of right answers. No interval
 *   reaches beyond it, and where all problems agree there is one all the same
 */
export function crossedDifference(
  table: DifferenceTable,
  { bound = Number.POSITIVE_INFINITY }: { readonly bound?: number } = {},
): CrossedDifference {
  const [problems, seeds] = [table.length, table[0]?.length ?? 0]
  const seedsFixed = seeds < SEEDS_THAT_VARY
  if (problems < 2 || seeds === 0) {
    const difference = problems === 1 && seeds > 0 ? mean(table[0]!) : Number.NaN
    const none: Interval = [Number.NaN, Number.NaN]
    const unknown = { standardError: Number.NaN, degreesOfFreedom: 0 }
    return { difference, ci95: none, p: 1, problems, seeds, seedsFixed, ...unknown }
  }
  const { all, ...squares } = meanSquares(table)
  const { total, degreesOfFreedom } = errorOf(squares, { problems, seeds })
  const standardError = Math.sqrt(total / (problems * seeds))
  const found = { difference: all, problems, seeds, seedsFixed, standardError, degreesOfFreedom }
  if (standardError < 1e-12) return { ...found, ...sameEverywhere(all, problems, bound) }
  const reach = tCritical(0.05, degreesOfFreedom) * standardError
  const p = tTwoSided(all / standardError, degreesOfFreedom)
  return { ...found, ci95: [Math.max(all - reach, -bound), Math.min(all + reach, bound)], p }
}

/**
 * Of P problems with one and the same difference d: other problems may have another. As Wilson's
 * interval has it where nothing was seen, with t for z, their share is at most u = t^2 / (P + t^2),
 * and they lie at most at the bounds:
 *
 *     d - u (d + bound)  to  d + u (bound - d);   0 is reached at t^2 = P |d| / bound
 */
function sameEverywhere(
  d: number,
  problems: number,
  bound: number,
): Pick<CrossedDifference, "ci95" | "p"> {
  if (bound === Number.POSITIVE_INFINITY) return { ci95: [d, d], p: d === 0 ? 1 : 0 }
  const t = tCritical(0.05, problems - 1)
  const others = t ** 2 / (problems + t ** 2)
  const p = tTwoSided(Math.sqrt((problems * Math.abs(d)) / bound), problems - 1)
  return { ci95: [d - others * (d + bound), d + others * (bound - d)], p }
}

export interface MeanSquares {
  readonly ofRows: number
  readonly ofColumns: number
  readonly rest: number
}

/** The mean square that the mean's error comes from, and its degrees of freedom. */
export function errorOf(
  { ofRows, ofColumns, rest }: MeanSquares,
  { problems, seeds }: { readonly problems: number; readonly seeds: number },
): { readonly total: number; readonly degreesOfFreedom: number } {
  const P = problems - 1
  const S = seeds - 1
  if (seeds < SEEDS_THAT_VARY || ofColumns < rest / 2) return { total: ofRows, degreesOfFreedom: P }
  // runs that are alike by chance give a small error and many degrees of freedom at once
  const most = Math.min(2 * seeds, P)
  if (ofColumns < rest) return { total: ofRows, degreesOfFreedom: most }
  const total = ofRows + ofColumns - rest
  const parts = ofRows ** 2 / P + ofColumns ** 2 / S + rest ** 2 / (P * S)
  return { total, degreesOfFreedom: Math.min(Math.max(total ** 2 / parts, 1), most) }
}

/**
 * 95 % percentile interval of the table's mean, drawing problems and seeds with replacement
 * (Owen 2007). Too narrow with few seeds.
 */
export function clusterBootstrap(
  table: DifferenceTable,
  { seed = 0, resamples = 2_000 }: { seed?: number; resamples?: number } = {},
): Interval {
  const [P, S] = [table.length, table[0]!.length]
  const uniform = randomStream(seed, "cluster bootstrap")
  const draw = (count: number) => Array.from({ length: count }, () => Math.floor(uniform() * count))
  const means = Array.from({ length: resamples }, () => {
    const seeds = draw(S)
    return mean(draw(P).map((p) => mean(seeds.map((s) => table[p]![s]!))))
  }).sort((a, b) => a - b)
  return [means[Math.floor(0.025 * resamples)]!, means[Math.ceil(0.975 * resamples) - 1]!]
}

/**
 * Holm's step-down adjustment (1979): p values that can be held to one level for all of them
 * together, whatever hangs together among them.
 */
export function holm(ps: readonly number[]): number[] {
  const order = ps.map((p, i) => ({ p, i })).sort((a, b) => a.p - b.p)
  const adjusted = new Array<number>(ps.length)
  let largest = 0
  for (const [rank, { p, i }] of order.entries()) {
    largest = Math.max(largest, Math.min(1, (ps.length - rank) * p))
    adjusted[i] = largest
  }
  return adjusted
}
