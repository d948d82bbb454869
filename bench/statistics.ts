/**
 * Do the intervals and tests of studies hold? Simulated studies with known truths, all seeded:
 *
 *     npm run bench -- statistics [--studies 2000] [--power-studies 500] [--out FILE]
 */
import { writeFileSync } from "node:fs"
import { parseArgs } from "node:util"
import {
  clusterBootstrap,
  crossedDifference,
  type DifferenceTable,
  holm,
  SEEDS_THAT_VARY,
} from "../src/evaluate/crossed-difference.ts"
import { smallestDifference } from "../src/evaluate/smallest-difference.ts"
import { randomStream } from "../src/random.ts"

export interface SimulatedSizes {
  readonly problems: number
  readonly seeds: number
  readonly n: number
}

export interface Truth {
  readonly score: number
  readonly spread: number
  readonly problemEffect: number
  readonly seedEffect: number
}

/** Box and Muller. */
const normal = (uniform: () => number): number =>
  Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform())

const clamp = (x: number): number => Math.min(1, Math.max(0, x))

/**
 * One study's outcomes of `arms` arms: answers are right with a chance of the problem, the arm on
 * that problem, and the training run. Of every arm but the first its table against the first, and
 * what of the difference these very runs make.
 */
export function simulated(
  uniform: () => number,
  { problems, seeds, n }: SimulatedSizes,
  { score, spread, problemEffect, seedEffect }: Truth,
  differences: readonly number[],
): { readonly table: DifferenceTable; readonly runs: number }[] {
  const draw = (chance: number) =>
    Array.from({ length: n }, () => Number(uniform() < chance)).reduce((a, b) => a + b, 0) / n
  // two points, so that no chance leaves [0, 1] and what is true is known
  const chances = Array.from({ length: problems }, () =>
    uniform() < 0.5 ? score - spread : score + spread,
  )
  const arms = [0, ...differences].map((difference) => {
    const runs = Array.from({ length: seeds }, () => seedEffect * normal(uniform))
    // the effect on a problem, half of it in each arm of a pair
    const own = chances.map(() => (problemEffect / Math.SQRT2) * normal(uniform))
    const answers = chances.map((chance, p) =>
      runs.map((run) => draw(clamp(chance + difference + run + own[p]!))),
    )
    return { answers, runs: runs.reduce((a, b) => a + b, 0) / seeds }
  })
  const [first, ...others] = arms
  return others.map(({ answers, runs }) => ({
    table: answers.map((row, p) => row.map((value, s) => value - first!.answers[p]![s]!)),
    runs: runs - first!.runs,
  }))
}

export interface Coverage extends SimulatedSizes, Truth {
  readonly studies: number
  /** Shares of intervals that hold the truth. */
  readonly t: number
  readonly bootstrap: number | null
  /** Share of studies in which Holm finds a difference that is not there, of `contrasts`. */
  readonly family: number | null
  readonly contrasts: number
}

/** `bootstrapped`: of so many studies the bootstrap too. */
export function coverage(
  sizes: SimulatedSizes,
  truth: Truth,
  {
    studies,
    bootstrapped = 0,
    contrasts = 4,
  }: { studies: number; bootstrapped?: number; contrasts?: number },
): Coverage {
  const { seeds } = sizes
  let [held, boot, families] = [0, 0, 0]
  for (let i = 0; i < studies; i++) {
    const uniform = randomStream(i, `study ${JSON.stringify([sizes, truth])}`)
    const tables = simulated(uniform, sizes, truth, new Array(contrasts).fill(0))
    const found = tables.map(({ table }) => crossedDifference(table))
    const {
      ci95: [low, high],
      seedsFixed,
    } = found[0]!
    const truly = seedsFixed ? tables[0]!.runs : 0
    held += Number(low <= truly && high >= truly)
    if (i < bootstrapped) {
      const [a, b] = clusterBootstrap(tables[0]!.table, { seed: i, resamples: 400 })
      boot += Number(a <= 0 && b >= 0)
    }
    families += Number(holm(found.map(({ p }) => p)).some((p) => p < 0.05))
  }
  return {
    ...sizes,
    ...truth,
    studies,
    contrasts,
    t: held / studies,
    bootstrap: bootstrapped === 0 ? null : boot / bootstrapped,
    // of fixed seeds a difference between runs is no false one
    family: seeds < SEEDS_THAT_VARY && truth.seedEffect > 0 ? null : families / studies,
  }
}

export interface Power extends SimulatedSizes, Truth {
  readonly difference: number
  readonly contrasts: number
  /** Share of studies in which the difference is found, after Holm's first step. */
  readonly found: number
}

/** Studies with the difference that --plan says they can show. */
export function power(
  sizes: SimulatedSizes,
  truth: Truth,
  { studies, contrasts }: { studies: number; contrasts: number },
): Power {
  const difference = smallestDifference(truth, { ...sizes, contrasts })
  let found = 0
  for (let i = 0; i < studies; i++) {
    const uniform = randomStream(i, `power ${JSON.stringify([sizes, truth])}`)
    const [one] = simulated(uniform, sizes, truth, [difference])
    found += Number(crossedDifference(one!.table).p < 0.05 / contrasts)
  }
  return { ...sizes, ...truth, difference, contrasts, found: found / studies }
}

const TRUTHS: readonly Truth[] = [
  { score: 0.4, spread: 0.25, problemEffect: 0.1, seedEffect: 0.02 },
  { score: 0.4, spread: 0.25, problemEffect: 0, seedEffect: 0 },
  { score: 0.4, spread: 0.2, problemEffect: 0.1, seedEffect: 0.06 },
]
const SIZES: readonly SimulatedSizes[] = [
  { problems: 100, seeds: 1, n: 4 },
  { problems: 100, seeds: 2, n: 4 },
  { problems: 100, seeds: 3, n: 1 },
  { problems: 60, seeds: 5, n: 2 },
  { problems: 150, seeds: 3, n: 1 },
]

export function statisticsBench({ studies = 2_000, powerStudies = 500 } = {}) {
  const pairs = SIZES.flatMap((sizes) => TRUTHS.map((truth) => [sizes, truth] as const))
  return {
    coverage: pairs.map(([sizes, truth]) =>
      coverage(sizes, truth, { studies, bootstrapped: studies / 5 }),
    ),
    power: pairs.flatMap(([sizes, truth]) =>
      [1, 4].map((contrasts) => power(sizes, truth, { studies: powerStudies, contrasts })),
    ),
  }
}

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      studies: { type: "string", default: "2000" },
      "power-studies": { type: "string", default: "500" },
      out: { type: "string" },
    },
  })
  const result = statisticsBench({
    studies: Number(values.studies),
    powerStudies: Number(values["power-studies"]),
  })
  console.table(result.coverage)
  console.table(result.power)
  if (values.out !== undefined) writeFileSync(values.out, `${JSON.stringify(result, null, 2)}\n`)
}
