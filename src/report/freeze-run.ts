/** Makes what a report holds of a run. */
import { takeHistogram } from "../run/run-index.ts"
import type { ThinnedHistograms } from "../run/thinned.ts"
import { COUNTERS, type Columns, stepColumns } from "./columns.ts"
import type { FrozenRun } from "./frozen-run.ts"
import { type RunSummary, runFigures } from "./run-summary.ts"

/** More rows than this are drawn by nobody's eyes: neighbours are joined. */
const MOST_ROWS = 4000
const MOST_ROLLOUTS = 2000

export function frozenRun(run: RunSummary): FrozenRun {
  const { name, start, end, steps, evals, warnings, checkpoints, rollouts, samples } = run
  const every = Math.ceil(steps.length / MOST_ROWS)
  const columns = thinned(stepColumns(steps), every)
  const histograms = new Map<string, ThinnedHistograms>()
  for (const event of run.histograms) takeHistogram(histograms, event)
  const stride = Math.ceil(rollouts.length / MOST_ROLLOUTS)
  return {
    name,
    every,
    columns: [...columns].map(([column, values]) => [column, values.map(short)]),
    histograms: [...histograms],
    starts: start ? [start] : [],
    ends: end ? [end] : [],
    evals: [...evals],
    warnings: [...warnings],
    checkpoints: [...checkpoints],
    rollouts: rollouts.filter((_, i) => i % stride === 0),
    config: run.config,
    versions: run.versions,
    figures: runFigures(run),
    samples: samples.map(({ type: _, time: __, ...sample }) => sample),
    badLines: run.badLines,
  }
}

/** Of counters the last of each group; of all else the mean. */
function thinned(columns: Columns, every: number): Columns {
  if (every <= 1) return columns
  return new Map(
    [...columns].map(([name, values]) => {
      const groups = Array.from({ length: Math.ceil(values.length / every) }, (_, i) =>
        values.slice(i * every, (i + 1) * every),
      )
      return [name, groups.map((group) => (COUNTERS.has(name) ? group.at(-1)! : mean(group)))]
    }),
  )
}

function mean(values: readonly number[]): number {
  const known = values.filter(Number.isFinite)
  return known.reduce((sum, x) => sum + x, 0) / known.length
}

/** Seven digits, as float32 has; null for what JSON has no word for. */
const short = (value: number): number | null =>
  Number.isInteger(value) ? value : Number.isFinite(value) ? Number(value.toPrecision(7)) : null
