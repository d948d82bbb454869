import { SHOWN_P as P, pushesAway, weightsAt } from "../../../src/objectives/weights.ts"
import { objectiveOf, problemOf } from "./settings.ts"

/** Frame of the drawing: x from 0 to 100, y from the highest weight to the lowest. */
const [WIDTH, HEIGHT] = [100, 60]

function weights(formula: string): number[] | undefined {
  if (problemOf(formula) !== undefined) return undefined
  return weightsAt(objectiveOf(formula), P, { tokenClass: 0, progress: 0.5 })
}

/** What each loss multiplies a token's NLL gradient with, by the token's probability. */
export function WeightPlot({ a, b }: { readonly a: string; readonly b: string }) {
  const lines = [
    { name: "a", values: weights(a) },
    { name: "b", values: weights(b) },
  ] as const
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
  const negative = lines.filter(({ values }) => pushesAway(values))
  const endless = lines.filter(({ values }) => values?.some((weight) => !Number.isFinite(weight)))
  const unknown = lines.filter(({ values }) => values === undefined)
  return (
    <div class="card weights">
      <h2>Weight of a token, by its probability p</h2>
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
            ({ name, values }) =>
              values && (
                <path
                  key={name}
                  d={path(values)}
                  style={{ stroke: `var(--${name})` }}
                  class={name === "b" ? "dashed" : ""}
                />
              ),
          )}
        </svg>
        <span class="bottom-label">
          <span>p = 0</span>
          <span>p = 1</span>
        </span>
      </div>
      <p class="note">The weight is −d loss / d ln p: SFT gives every token 1, DFT gives it p.</p>
      {negative.map(({ name }) => (
        <p key={name} class="problem">
          {name.toUpperCase()} pushes some tokens away: its weight is negative where p is small. Is
          a sg(…) missing?
        </p>
      ))}
      {endless.map(({ name, values }) => (
        <p key={name} class="problem">
          {name.toUpperCase()} has no finite weight where p is{" "}
          {P[values!.findIndex((weight) => !Number.isFinite(weight))]!.toPrecision(2)}: a step with
          such a token ends the run.
        </p>
      ))}
      {unknown.map(({ name }) => (
        <p key={name} class="note">
          {name.toUpperCase()} depends on more than p; no line can show it.
        </p>
      ))}
    </div>
  )
}
