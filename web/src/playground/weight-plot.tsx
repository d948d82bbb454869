import { SHOWN_P as P, pushesAway, weightsAt } from "../../../src/objectives/weights.ts"
import { WeightLines } from "../parts/weight-lines.tsx"
import { objectiveOf, problemOf } from "./settings.ts"

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
  const negative = lines.filter(({ values }) => pushesAway(values))
  const endless = lines.filter(({ values }) => values?.some((weight) => !Number.isFinite(weight)))
  const unknown = lines.filter(({ values }) => values === undefined)
  return (
    <div class="card weights">
      <h2>Weight of a token, by its probability p</h2>
      <WeightLines
        lines={lines.map(({ name, values }) => ({
          name,
          color: `--${name}`,
          values,
          dashed: name === "b",
        }))}
      />
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
