import { Chart } from "../parts/chart.tsx"
import { Histogram } from "../parts/histogram.tsx"
import type { Side, SideName } from "./lab-state.ts"
import type { Settings } from "./settings.ts"

const HELD_OUT = {
  noisy: "NLL of clean rows, held out",
  facts: "NLL of other rows",
  own: "NLL of your last rows, held out (of all, below ten)",
} as const

const BINS = Array.from({ length: 10 }, (_, i) => `.${i}`)

/** What both runs have told, drawn over each other. */
export function Curves({
  sides,
  settings,
}: {
  readonly sides: Readonly<Record<SideName, Side>>
  readonly settings: Settings
}) {
  const lines = (points: (side: Side) => readonly (readonly [number, number])[]) =>
    (["a", "b"] as const).map((name) => ({
      label: name.toUpperCase(),
      color: `--${name}`,
      points: points(sides[name]),
    }))
  const bins = (["a", "b"] as const).map((name) => ({
    label: `${name.toUpperCase()}, ${settings[name]}`,
    color: `--${name}`,
    counts: sides[name].bins,
  }))
  return (
    <section class="curves" aria-label="Curves">
      <Chart
        title="NLL of the training rows"
        series={lines(({ steps }) => steps.map(({ step, nll }) => [step, nll]))}
      />
      <Chart
        title={HELD_OUT[settings.task]}
        series={lines(({ heldOut }) => heldOut.map(({ step, nll }) => [step, nll]))}
      />
      <Chart
        title="Tokens that count: (Σw)² / Σw²"
        series={lines(({ steps }) =>
          steps.flatMap(({ step, effective_tokens: effective }) =>
            effective === undefined ? [] : [[step, effective] as const],
          ),
        )}
      />
      <Histogram title="Probabilities of the last step's targets" bins={BINS} series={bins} />
    </section>
  )
}
