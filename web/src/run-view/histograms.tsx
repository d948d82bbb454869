import { useEffect, useRef, useState } from "preact/hooks"
import type { ThinnedHistograms } from "../../../src/run/thinned.ts"
import { colorOf } from "../parts/chart.tsx"
import { Histogram } from "../parts/histogram.tsx"
import { onThemeChange } from "../parts/theme-change.ts"
import type { ShownRun } from "./shown-run.ts"

/** As events have them: three below 0.01, then ten of 0.1, of which the first holds those three. */
const BINS = [
  ..."<1e-4 <1e-3 <.01 <.1".split(" "),
  ...Array.from({ length: 9 }, (_, i) => `.${i + 1}`),
]

/** Counts of 13 bins that no token is in twice. */
const apart = ([a = 0, b = 0, c = 0, first = 0, ...rest]: readonly number[]) => [
  ...[a, b, c],
  Math.max(0, first - a - b - c),
  ...rest,
]

/**
 * How probable the targets are, as it moves over the steps: a column a step, dark where many are.
 */
export function HistogramOverSteps({
  run,
  many = false,
}: {
  readonly run: ShownRun
  /** Whether other runs are beside it, so that it says whose it is. */
  readonly many?: boolean
}) {
  const names = [...run.details.histograms.keys()]
  const [name = names.includes("train") ? "train" : names[0], setName] = useState<string>()
  const all = run.details.histograms.get(name ?? "")
  const [picked, setPicked] = useState<number>()
  if (!all || all.counts.length === 0) return null
  const column = Math.min(picked ?? all.counts.length - 1, all.counts.length - 1)
  const title = `Token probabilities over the steps${many ? `, ${run.name}` : ""}`
  const stepsOf = (i: number) =>
    `step ${all.steps[i]}${all.every > 1 ? ` and the ${all.every - 1} before it` : ""}`
  return (
    <section aria-label={title} class="card">
      <div class="row head">
        <h2>{title}</h2>
        {names.length > 1 && (
          <select
            aria-label="Tokens of"
            value={name}
            onChange={(event) => setName(event.currentTarget.value)}
          >
            {names.map((one) => (
              <option key={one}>{one}</option>
            ))}
          </select>
        )}
      </div>
      <div class="split">
        <div>
          <Heat all={all} column={column} version={run.version} />
          <label class="row">
            <span class="unseen">Step of the histogram</span>
            <input
              type="range"
              class="wide"
              min={0}
              max={all.counts.length - 1}
              value={column}
              onInput={(event) => setPicked(event.currentTarget.valueAsNumber)}
            />
          </label>
        </div>
        <Histogram
          title={`Share of the targets in each range of p, ${stepsOf(column)}`}
          bins={BINS}
          series={[
            { label: stepsOf(column), color: "--a", counts: apart(all.counts[column]!) },
            ...(column === 0
              ? []
              : [{ label: stepsOf(0), color: "--pale", counts: apart(all.counts[0]!) }]),
          ]}
        />
      </div>
    </section>
  )
}

function drawHeat(element: HTMLCanvasElement, all: ThinnedHistograms): void {
  const context = element.getContext("2d")!
  element.width = all.counts.length
  element.height = BINS.length
  context.fillStyle = colorOf(element, "--a")
  for (const [x, counts] of all.counts.entries()) {
    const bins = apart(counts)
    const total = bins.reduce((sum, count) => sum + count, 0)
    for (const [i, count] of bins.entries()) {
      context.globalAlpha = total === 0 ? 0 : Math.sqrt(count / total)
      context.fillRect(x, BINS.length - 1 - i, 1, 1)
    }
  }
}

function Heat({
  all,
  column,
  version,
}: {
  readonly all: ThinnedHistograms
  readonly column: number
  readonly version: number
}) {
  const canvas = useRef<HTMLCanvasElement>(null)
  useEffect(() => {
    const element = canvas.current!
    drawHeat(element, all)
    return onThemeChange(() => drawHeat(element, all))
  }, [all, all.counts.length, version])
  const mass = (bins: readonly number[]) => {
    const total = bins.reduce((sum, count) => sum + count, 0)
    return total === 0 ? 0 : Math.round((100 * (bins.at(-1) ?? 0)) / total)
  }
  const words = `Share of targets with p of 0.9 and more: ${mass(apart(all.counts[0]!))} % at first, ${mass(apart(all.counts.at(-1)!))} % at last`
  return (
    <div class="heat">
      <div class="heat-names" aria-hidden="true">
        <span>p = 1</span>
        <span>0.1</span>
        <span>p = 0</span>
      </div>
      <div class="heat-place">
        <canvas ref={canvas} role="img" aria-label={words} />
        <i style={{ left: `${(100 * (column + 0.5)) / all.counts.length}%` }} />
      </div>
    </div>
  )
}
