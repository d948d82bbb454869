import { useEffect, useRef } from "preact/hooks"
import uPlot from "uplot"
import { onThemeChange } from "./theme-change.ts"

export interface Series {
  readonly label: string
  /** A CSS colour, or the name of one of the theme's (`--a`). */
  readonly color: string
  readonly points: readonly (readonly [x: number, y: number])[]
}

export interface ChartProps {
  readonly title: string
  readonly series: readonly Series[]
  readonly height?: number
}

export const colorOf = (element: Element, color: string) =>
  color.startsWith("--") ? getComputedStyle(element).getPropertyValue(color).trim() : color

/** All x of the series, and each series' y there (null where it has none). */
function columns(series: readonly Series[]): uPlot.AlignedData {
  const xs = [...new Set(series.flatMap(({ points }) => points.map(([x]) => x)))].sort(
    (a, b) => a - b,
  )
  const ys = series.map(({ points }) => {
    const known = new Map(points)
    return xs.map((x) => known.get(x) ?? null)
  })
  return [xs, ...ys]
}

/** Lines over a common x, redrawn as points come in; as wide as its place. */
export function Chart({ title, series, height = 170 }: ChartProps) {
  const place = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot>(undefined)
  const labels = series.map(({ label, color }) => `${label} ${color}`).join()
  useEffect(() => {
    const element = place.current!
    // Asked for at each drawing: a canvas knows nothing of the theme, which may turn dark.
    const themed = (color: string) => () => colorOf(element, color)
    const axis = {
      stroke: themed("--pale"),
      grid: { stroke: themed("--line"), width: 1 },
      size: 58,
    }
    const made = new uPlot(
      {
        width: Math.max(200, element.clientWidth),
        height,
        legend: { show: false },
        cursor: { y: false },
        scales: { x: { time: false } },
        axes: [{ ...axis, size: 28 }, axis],
        series: [
          {},
          ...series.map(({ label, color, points }) => ({
            label,
            stroke: themed(color),
            width: 2,
            spanGaps: true,
            points: { show: points.length < 2, size: 6 },
          })),
        ],
      },
      columns(series),
      element,
    )
    plot.current = made
    const sizes = new ResizeObserver(() =>
      made.setSize({ width: Math.max(200, element.clientWidth), height }),
    )
    sizes.observe(element)
    const forget = onThemeChange(() => made.redraw())
    return () => {
      forget()
      sizes.disconnect()
      made.destroy()
    }
  }, [labels, height])

  useEffect(() => plot.current?.setData(columns(series)), [series])

  const last = series
    .map(({ label, points }) => `${label} ${points.at(-1)?.[1].toPrecision(3) ?? "nothing yet"}`)
    .join(", ")
  return (
    <figure class="chart">
      <figcaption>
        {title}
        <span class="values">
          {series.map(({ label, color, points }) => (
            <span key={label}>
              <i
                class="swatch"
                style={{ background: color.startsWith("--") ? `var(${color})` : color }}
              />
              {label} <b>{points.at(-1)?.[1].toPrecision(3) ?? "–"}</b>
            </span>
          ))}
        </span>
      </figcaption>
      <div ref={place} role="img" aria-label={`${title}: ${last}`} />
    </figure>
  )
}
