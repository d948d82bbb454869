import { useMemo, useState } from "preact/hooks"
import { type Columns, rolloutColumns } from "../../../src/report/columns.ts"
import {
  drawnColumns,
  type EvaluatedField,
  type Measure,
  rolloutMeasures,
  stepMeasures,
} from "../../../src/report/measures.ts"
import { LinkedChart, type LinkedSeries } from "../parts/linked-chart.tsx"
import { AXES, type Axis, at, axisValues, smoothed } from "./axes.ts"
import type { ShownRun } from "./shown-run.ts"

/** Colours of runs side by side, and of lines of one. */
export const COLORS = ["--a", "--b", "--c", "--d", "--e", "--f"] as const
export const colorAt = (i: number): string => COLORS[i % COLORS.length]!

const AXIS_NAMES: { readonly [A in Axis]: string } = {
  step: "steps",
  tokens: "tokens",
  time: "time",
}

/** Everything that runs have told of their steps, over one x, with one cursor and one zoom. */
export function Curves({ runs }: { readonly runs: readonly ShownRun[] }) {
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
  if (known.length === 0) {
    return <p class="note">No step has been told yet; curves are drawn here as they come.</p>
  }
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
        {axis !== "time" && (
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
        {charts.map(({ title, series, isLog }) => (
          <LinkedChart
            key={title}
            title={title}
            series={series}
            sync="curves"
            range={range}
            onZoom={setRange}
            isTime={axis === "time"}
            log={log || isLog}
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

/** A run's numbers of one kind, and where each lies on the axis. */
interface Table {
  readonly run: ShownRun
  readonly columns: Columns
  readonly xs: readonly number[]
}

interface DrawnChart {
  readonly title: string
  readonly series: readonly LinkedSeries[]
  readonly isLog: boolean
}

function chartsOf(runs: readonly ShownRun[], axis: Axis, share: number): DrawnChart[] {
  const steps = runs.map((run): Table => {
    const columns = drawnColumns(run.details.columns)
    return { run, columns, xs: axisValues(columns, axis) }
  })
  const rollouts = steps.map(({ run, xs }): Table => {
    const columns = rolloutColumns(run.details.rollouts)
    return { run, columns, xs: placesOf(columns.get("step") ?? [], { run, xs, axis }) }
  })
  return [
    ...drawn(rollouts, axis, share, ({ columns }) => rolloutMeasures(columns)),
    ...drawn(steps, axis, share, ({ run, columns }) => {
      return stepMeasures(columns, evaluatedFields(run))
    }),
  ]
}

/** Where what is told by the step lies: on the step, or where the run was by then. */
function placesOf(
  told: readonly number[],
  {
    run,
    xs,
    axis,
  }: { readonly run: ShownRun; readonly xs: readonly number[]; readonly axis: Axis },
): number[] {
  if (axis === "step") return [...told]
  const steps = run.details.columns.get("step") ?? []
  return told.map((step) => at(xs, steps, step) ?? step)
}

/** What evaluations tell more than once: one number is in the table of figures. */
function evaluatedFields({ details }: ShownRun): Set<string> {
  const told = details.evals.flatMap((event) =>
    Object.entries(event).flatMap(([key, value]) =>
      typeof value === "number" ? [[key, `${key} ${event.name}`] as const] : [],
    ),
  )
  const count = new Map<string, number>()
  for (const [, of] of told) count.set(of, (count.get(of) ?? 0) + 1)
  return new Set(told.filter(([, of]) => count.get(of)! > 1).map(([key]) => key))
}

function drawn(
  tables: readonly Table[],
  axis: Axis,
  share: number,
  measuresOf: (table: Table) => readonly Measure[],
): DrawnChart[] {
  const measures = new Map<string, Measure>()
  for (const measure of tables.flatMap(measuresOf)) {
    const before = measures.get(measure.title)
    if (!before || before.columns.length < measure.columns.length)
      measures.set(measure.title, measure)
  }
  return [...measures.values()].map((measure) => ({
    title: measure.title,
    isLog: measure.log ?? false,
    series: tables.flatMap((table, i) =>
      linesOf(table, measure, { axis, share, of: tables.length, i }),
    ),
  }))
}

interface Place {
  readonly axis: Axis
  readonly share: number
  /** Runs that are drawn, and which this is. */
  readonly of: number
  readonly i: number
}

/** A run's lines of one measure; of one run each line has a colour, of several each run. */
function linesOf(table: Table, measure: Measure, place: Place): LinkedSeries[] {
  const { run, columns, xs } = table
  const { share, of, i } = place
  const many = of > 1
  const lines = measure.columns.flatMap(([column, label], c) => {
    const values = columns.get(column)
    if (!values) return []
    const color = colorAt(many ? i : c)
    const told = many ? (measure.columns.length > 1 ? `${run.name}, ${label}` : run.name) : label
    const ys = values.map((value) => (Number.isFinite(value) ? value : null))
    const line = { label: told, color, xs, points: values.length < 3 }
    if (share === 0) return [{ ...line, ys }]
    const raw: LinkedSeries = { label: `${told}, each step`, color, xs, ys, faint: true }
    return [raw, { ...line, ys: smoothed(values, share) }]
  })
  return [...lines, ...evaluations(table, measure, place)]
}

function evaluations(
  { run, xs }: Table,
  { evaluated, columns }: Measure,
  { axis, of, i }: Place,
): LinkedSeries[] {
  if (!evaluated) return []
  const { evals } = run.details
  const names = [...new Set(evals.map((event) => event.name))]
  return names.flatMap((set, s) => {
    const own = evals.filter((event) => event.name === set && isTold(event, evaluated))
    if (own.length === 0) return []
    const label = of > 1 ? `${run.name}, ${set}` : set
    const color = colorAt(of > 1 ? i : columns.length + s)
    const places = placesOf(
      own.map(({ step }) => step),
      { run, xs, axis },
    )
    return [{ label, color, xs: places, ys: own.map((event) => event[evaluated]!), points: true }]
  })
}

const isTold = (event: Partial<Record<EvaluatedField, number>>, field: EvaluatedField) =>
  typeof event[field] === "number"
