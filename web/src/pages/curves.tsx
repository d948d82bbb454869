import { useMemo, useState } from "preact/hooks"
import { LinkedChart, type LinkedSeries } from "../parts/linked-chart.tsx"
import { AXES, type Axis, at, axisValues, type Measure, measuresOf, smoothed } from "./measures.ts"
import type { RunState } from "./run-state.ts"

/** Colours of runs side by side, and of lines of one. */
export const COLORS = ["--a", "--b", "--c", "--d", "--e", "--f"] as const
export const colorAt = (i: number): string => COLORS[i % COLORS.length]!

const AXIS_NAMES: { readonly [A in Axis]: string } = {
  step: "steps",
  tokens: "tokens",
  time: "time",
}

/** Everything that runs have told of their steps, over one x, with one cursor and one zoom. */
export function Curves({ runs }: { readonly runs: readonly RunState[] }) {
  const [axis, setAxis] = useState<Axis>("step")
  const [share, setShare] = useState(0)
  const [log, setLog] = useState(false)
  const [range, setRange] = useState<readonly [number, number]>()
  const versions = runs
    .map(
      ({ name, version, details }) => `${name} ${version} ${details.columns.get("step")?.length}`,
    )
    .join()
  const charts = useMemo(() => chartsOf(runs, axis, share), [versions, axis, share])
  const all = charts.flatMap(({ series }) => series.flatMap(({ xs }) => [xs[0], xs.at(-1)]))
  const known = all.filter((x): x is number => x !== undefined)
  return (
    <section aria-label="Curves">
      <div class="row controls">
        <label>
          over{" "}
          <select
            value={axis}
            onChange={(event) => {
              setAxis(event.currentTarget.value as Axis)
              setRange(undefined)
            }}
          >
            {AXES.map((one) => (
              <option key={one} value={one}>
                {AXIS_NAMES[one]}
              </option>
            ))}
          </select>
        </label>
        <label class="row">
          smoothing
          <input
            type="range"
            min={0}
            max={0.99}
            step={0.01}
            value={share}
            onInput={(event) => setShare(event.currentTarget.valueAsNumber)}
          />
          <output>{share === 0 ? "none" : share.toFixed(2)}</output>
        </label>
        <label class="row">
          <input
            type="checkbox"
            checked={log}
            onChange={(event) => setLog(event.currentTarget.checked)}
          />
          logarithmic
        </label>
        {axis !== "time" && known.length > 0 && (
          <Window
            range={range}
            whole={[Math.min(...known), Math.max(...known)]}
            onChange={setRange}
          />
        )}
        <button type="button" disabled={!range} onClick={() => setRange(undefined)}>
          Show all
        </button>
        <span class="note">Drag over a chart to zoom all; double-click to go back.</span>
      </div>
      <div class="charts">
        {charts.map(({ title, series }) => (
          <LinkedChart
            key={title}
            title={title}
            series={series}
            sync="curves"
            range={range}
            onZoom={setRange}
            isTime={axis === "time"}
            log={log}
          />
        ))}
      </div>
    </section>
  )
}

/** The zoom in numbers, for who has no mouse. */
function Window({
  range,
  whole,
  onChange,
}: {
  readonly range: readonly [number, number] | undefined
  readonly whole: readonly [number, number]
  readonly onChange: (range: readonly [number, number]) => void
}) {
  const [from, to] = range ?? whole
  const field = (
    label: string,
    value: number,
    change: (value: number) => readonly [number, number],
  ) => (
    <label>
      {label}{" "}
      <input
        type="number"
        class="short"
        value={Math.round(value)}
        onChange={(event) => {
          const next = change(event.currentTarget.valueAsNumber)
          if (next[0] < next[1]) onChange(next)
        }}
      />
    </label>
  )
  return (
    <>
      {field("from", from, (value) => [value, to])}
      {field("to", to, (value) => [from, value])}
    </>
  )
}

function chartsOf(runs: readonly RunState[], axis: Axis, share: number) {
  const measures = new Map<string, Measure>()
  for (const { details } of runs) {
    for (const measure of measuresOf(details.columns)) {
      const before = measures.get(measure.title)
      if (!before || before.columns.length < measure.columns.length)
        measures.set(measure.title, measure)
    }
  }
  const xs = runs.map(({ details }) => axisValues(details.columns, axis))
  return [...measures.values()].map((measure) => ({
    title: measure.title,
    series: runs.flatMap((run, i) =>
      linesOf(run, measure, { xs: xs[i]!, share, of: runs.length, i }),
    ),
  }))
}

interface Place {
  readonly xs: readonly number[]
  readonly share: number
  /** Runs that are drawn, and which this is. */
  readonly of: number
  readonly i: number
}

/** A run's lines of one measure; of one run each line has a colour, of several each run. */
function linesOf(
  { name, details }: RunState,
  measure: Measure,
  { xs, share, of, i }: Place,
): LinkedSeries[] {
  const many = of > 1
  const { columns } = details
  const lines = measure.columns.flatMap(([column, label], c) => {
    const values = columns.get(column)
    if (!values) return []
    const color = colorAt(many ? i : c)
    const told = many ? (measure.columns.length > 1 ? `${name}, ${label}` : name) : label
    const ys = values.map((value) => (Number.isFinite(value) ? value : null))
    const line = { label: told, color, xs, points: values.length < 3 }
    if (share === 0) return [{ ...line, ys }]
    const raw: LinkedSeries = { label: `${told}, each step`, color, xs, ys, faint: true }
    return [raw, { ...line, ys: smoothed(values, share) }]
  })
  return [...lines, ...evaluations({ name, details }, measure, { xs, share, of, i })]
}

function evaluations(
  { name, details }: Pick<RunState, "name" | "details">,
  { evaluated, columns }: Measure,
  { xs, of, i }: Place,
): LinkedSeries[] {
  if (!evaluated) return []
  const steps = details.columns.get("step") ?? []
  const names = [...new Set(details.evals.map((event) => event.name))]
  return names.flatMap((set, s) => {
    const own = details.evals.filter(
      (event) => event.name === set && typeof event[evaluated] === "number",
    )
    if (own.length === 0) return []
    const label = of > 1 ? `${name}, ${set}` : set
    const color = colorAt(of > 1 ? i : columns.length + s)
    const places = own.map(({ step }) => at(xs, steps, step) ?? step)
    return [{ label, color, xs: places, ys: own.map((event) => event[evaluated]!), points: true }]
  })
}
