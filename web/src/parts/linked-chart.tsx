import { useEffect, useRef } from "preact/hooks"
import uPlot from "uplot"
import { colorOf } from "./chart.tsx"
import { onThemeChange } from "./theme-change.ts"
import { fourDigits, shownRange, tickText } from "./ticks.ts"

export interface LinkedSeries {
  readonly label: string
  /** A CSS colour, or the name of one of the theme's (`--a`). */
  readonly color: string
  /** Rising. Series that share the same array share their rows. */
  readonly xs: readonly number[]
  readonly ys: readonly (number | null)[]
  /** Behind the others, thin: what the smoothed line was made of. */
  readonly faint?: boolean
  readonly points?: boolean
}

export interface LinkedChartProps {
  readonly title: string
  readonly series: readonly LinkedSeries[]
  /** Charts of one key show one cursor. */
  readonly sync: string
  /** What is shown of x; all of it if left out. */
  readonly range: readonly [number, number] | undefined
  readonly onZoom: (range: readonly [number, number] | undefined) => void
  readonly isTime?: boolean
  readonly log?: boolean
}

const HEIGHT = 190
/** Distances of marks on an axis of steps or tokens: there is no half a step. */
const WHOLE = Array.from({ length: 13 }, (_, i) => [1, 2, 5].map((one) => one * 10 ** i)).flat()
/**
 * Beside the y axis: as much in all charts, so that they stand over each other; more for long
 * marks.
 */
const MARKS_WIDTH = 58
const marksWidth = (marks: readonly string[] | null): number =>
  Math.max(MARKS_WIDTH, ...(marks ?? []).map((mark) => 18 + 7 * mark.length))

/** One table of all series: those of one x as they are, others joined. */
function tableOf({ series, log }: LinkedChartProps): uPlot.AlignedData {
  const shown = (ys: LinkedSeries["ys"]) =>
    log ? ys.map((y) => (y !== null && y > 0 ? y : null)) : ys
  const groups = new Map<readonly number[], LinkedSeries[]>()
  for (const one of series) groups.set(one.xs, [...(groups.get(one.xs) ?? []), one])
  const tables = [...groups].map(
    ([xs, of]) => [xs, ...of.map(({ ys }) => shown(ys))] as unknown as uPlot.AlignedData,
  )
  if (tables.length === 0) return [[]]
  return tables.length === 1 ? tables[0]! : uPlot.join(tables)
}

/** In the order of `tableOf`. */
const inOrder = (series: readonly LinkedSeries[]) => {
  const xs = [...new Set(series.map((one) => one.xs))]
  return xs.flatMap((own) => series.filter((one) => one.xs === own))
}

/** `now` gives the present props: a chart outlives many. */
function optionsOf(
  element: HTMLElement,
  { sync, isTime, log }: Required<Pick<LinkedChartProps, "sync" | "isTime" | "log">>,
  ordered: readonly LinkedSeries[],
  now: () => LinkedChartProps,
): uPlot.Options {
  // Asked for at each drawing: a canvas knows nothing of the theme, which may turn dark.
  const themed = (color: string) => () => colorOf(element, color)
  const line = { stroke: themed("--line"), width: 1 }
  const axis = { stroke: themed("--pale"), grid: line, ticks: line }
  const shownOf = { range: (_: uPlot, low: number, high: number) => shownRange(low, high) }
  return {
    width: widthOf(element),
    height: HEIGHT,
    legend: { show: false },
    cursor: { y: false, sync: { key: sync }, drag: { x: true, y: false, setScale: false } },
    scales: {
      x: { time: isTime, range: (_, low, high) => [...(now().range ?? [low, high])] },
      y: { distr: log ? 3 : 1, ...(log ? {} : shownOf) },
    },
    axes: [
      { ...axis, size: 28, ...(isTime ? {} : { incrs: WHOLE }) },
      {
        ...axis,
        size: (_, marks) => marksWidth(marks),
        values: (_, ticks, __, ___, step) => ticks.map((tick) => tickText(tick, log ? 0 : step)),
      },
    ],
    series: [
      {},
      ...ordered.map(({ label, color, faint, points }) => ({
        label,
        stroke: themed(color),
        width: faint ? 1 : 2,
        ...(faint ? { alpha: 0.3 } : {}),
        spanGaps: true,
        points: { show: points ?? false, size: 5 },
      })),
    ],
    hooks: {
      setSelect: [
        ({ select, posToVal, setSelect }) => {
          if (select.width < 4) return
          const [from, to] = [select.left, select.left + select.width]
          now().onZoom([posToVal(from, "x"), posToVal(to, "x")])
          setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
        },
      ],
      setCursor: [(self) => tellValues(element, self)],
    },
  }
}

const widthOf = ({ clientWidth }: HTMLElement) => Math.max(200, clientWidth)

/**
 * Lines that share zoom and cursor with the other charts of a page; drawn again as numbers come.
 */
export function LinkedChart(props: LinkedChartProps) {
  const { title, series, sync, range, isTime = false, log = false } = props
  const place = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot>(undefined)
  const now = useRef(props)
  now.current = props
  /** What a plot is drawn with, and what the present one has been. */
  const drawn = [series, range?.[0], range?.[1]]
  const told = useRef<readonly unknown[]>([])
  const ordered = inOrder(series)
  const shape = ordered.map(({ label, color, faint }) => `${label} ${color} ${faint}`).join()
  useEffect(() => {
    const element = place.current!
    const options = optionsOf(element, { sync, isTime, log }, ordered, () => now.current)
    const made = new uPlot(options, tableOf(now.current), element)
    plot.current = made
    told.current = drawn
    const reset = () => now.current.onZoom(undefined)
    element.addEventListener("dblclick", reset)
    const sizes = new ResizeObserver(() => {
      const width = widthOf(element)
      if (width !== made.width) made.setSize({ width, height: HEIGHT })
    })
    sizes.observe(element)
    const forget = onThemeChange(() => made.redraw())
    return () => {
      forget()
      element.removeEventListener("dblclick", reset)
      sizes.disconnect()
      made.destroy()
    }
  }, [shape, sync, isTime, log])
  useEffect(() => {
    if (drawn.every((one, i) => one === told.current[i])) return // it was just made with them
    told.current = drawn
    plot.current?.setData(tableOf(now.current))
  }, drawn)

  const shown = ordered.filter(({ faint }) => !faint)
  const last = shown.map(({ label, ys }) => `${label} ${lastOf(ys)}`).join(", ")
  return (
    <figure class="chart">
      <figcaption>
        {title}
        <span class="values">
          {shown.map(({ label, color, ys }) => (
            <span key={label} data-series={label}>
              <i
                class="swatch"
                style={{ background: color.startsWith("--") ? `var(${color})` : color }}
              />
              {label} <b>{lastOf(ys)}</b> <output />
            </span>
          ))}
        </span>
      </figcaption>
      <div ref={place} role="img" aria-label={`${title}: ${last}`} />
    </figure>
  )
}

function lastOf(ys: LinkedSeries["ys"]): string {
  const value = ys.findLast((y) => y !== null && Number.isFinite(y))
  return value === null || value === undefined ? "–" : fourDigits(value)
}

/** What the lines are at the cursor, in the legend; without drawing the page again. */
function tellValues(element: Element, { cursor: { idx }, series, data }: uPlot): void {
  const figure = element.closest("figure")!
  for (const [i, { label, alpha }] of series.entries()) {
    if (i === 0 || (alpha !== undefined && alpha < 1)) continue
    const output = figure.querySelector(`[data-series="${CSS.escape(String(label))}"] output`)
    const value = idx === null || idx === undefined ? undefined : data[i]?.[idx]
    if (output)
      output.textContent = value === null || value === undefined ? "" : `→ ${fourDigits(value)}`
  }
}
