import { SHOWN_P as P } from "../../../src/objectives/weights.ts"

/** Frame of the drawing: x from 0 to 100, y from the highest weight to the lowest. */
const [WIDTH, HEIGHT] = [100, 60]

export interface WeightLine {
  readonly name: string
  /** The name of one of the theme's colours. */
  readonly color: string
  /** At `SHOWN_P`; undefined where no line can show it. */
  readonly values: readonly number[] | undefined
  readonly dashed?: boolean
}

/** Weights against the probability of a token. */
export function WeightLines({ lines }: { readonly lines: readonly WeightLine[] }) {
  const all = lines.flatMap(({ values }) => values ?? []).filter(Number.isFinite)
  const top = Math.max(1, Math.min(4, Math.max(0, ...all)))
  const bottom = Math.min(0, Math.max(-2, Math.min(0, ...all)))
  const y = (weight: number) => {
    const inside = Math.max(bottom, Math.min(top, weight))
    return (HEIGHT * (top - inside)) / (top - bottom)
  }
  /** Broken off where a weight is no number. */
  const path = (values: readonly number[]) =>
    values
      .map((weight, i) => {
        if (!Number.isFinite(weight)) return ""
        const begins = !Number.isFinite(values[i - 1])
        return `${begins ? "M" : "L"}${(100 * P[i]!).toFixed(1)} ${y(weight).toFixed(2)}`
      })
      .join("")
  return (
    <div class="plot">
      <span class="top-label">{top.toPrecision(2)}</span>
      <svg
        viewBox={`-1 -1 ${WIDTH + 2} ${HEIGHT + 2}`}
        preserveAspectRatio="none"
        role="img"
        aria-label="Weight against probability, a line for each loss"
      >
        <line class="base" x1="0" x2={WIDTH} y1={y(0)} y2={y(0)} />
        <line class="base" x1="0" x2="0" y1="0" y2={HEIGHT} />
        {lines.map(
          ({ name, color, values, dashed }) =>
            values && (
              <path
                key={name}
                d={path(values)}
                style={{ stroke: `var(${color})` }}
                class={dashed ? "dashed" : ""}
              />
            ),
        )}
      </svg>
      <span class="bottom-label">
        <span>p = 0</span>
        <span>p = 1</span>
      </span>
    </div>
  )
}
