import { useState } from "preact/hooks"
import {
  rewardText,
  type Sample,
  type SampleCell,
  sampleRows,
  tokenWeights,
} from "../../../src/report/sample-rows.ts"
import { Tokens } from "../parts/tokens.tsx"
import { colorAt } from "./curves.tsx"

export interface SampledRun {
  readonly name: string
  readonly samples: readonly Sample[]
  readonly config: Readonly<Record<string, unknown>>
}

const SHADES = {
  p: "probability",
  weight: "weight under the run's objective",
  plain: "nothing",
} as const
type Shade = keyof typeof SHADES

/** Prompts at first, and how many more at a time. */
const SHOWN = 10

/** What runs answered to the same prompts: at first and at last, beside what the row answers. */
export function SamplesBeside({ runs }: { readonly runs: readonly SampledRun[] }) {
  const [shade, setShade] = useState<Shade>("p")
  const [shown, setShown] = useState(SHOWN)
  const { rows, left } = sampleRows(runs)
  if (rows.length === 0) return null
  return (
    <section aria-label="Samples" class="samples">
      <div class="row head">
        <h2>Samples</h2>
        <label>
          coloured by{" "}
          <select value={shade} onChange={(event) => setShade(event.currentTarget.value as Shade)}>
            {Object.entries(SHADES).map(([key, words]) => (
              <option key={key} value={key}>
                {words}
              </option>
            ))}
          </select>
        </label>
        <span class="note">
          <i class="scale" /> 0 to 1
        </span>
      </div>
      {rows.slice(0, shown).map(({ prompt, cells, reference }) => (
        <article key={prompt} class="sample">
          <div class="tokens context">{prompt}</div>
          <div class="beside">
            {cells.map((cell, i) => {
              const run = runs[i]!
              return run.samples.length === 0 ? null : (
                <Cell key={run.name} cell={cell} run={run} at={i} shade={shade} />
              )
            })}
            {reference !== undefined && (
              <div class="card">
                <h3>the row's answer</h3>
                <div class="tokens">{reference}</div>
              </div>
            )}
          </div>
        </article>
      ))}
      {rows.length > shown && (
        <button type="button" onClick={() => setShown(shown + SHOWN)}>
          More of {rows.length} prompts
        </button>
      )}
      {left > 0 && <p class="note">{left} more prompts are in samples.jsonl.</p>}
    </section>
  )
}

function Cell({
  cell,
  run,
  at,
  shade,
}: {
  readonly cell: SampleCell | null
  readonly run: SampledRun
  readonly at: number
  readonly shade: Shade
}) {
  const texts =
    cell === null ? [] : [...(cell.first ? [cell.first] : []), cell.last, ...cell.beside]
  return (
    <div class="card">
      <h3>
        <i class="swatch" style={{ background: `var(${colorAt(at)})` }} />
        {run.name}
      </h3>
      {texts.length === 0 && <p class="note">It was not asked.</p>}
      {texts.map((sample, i) => (
        <div key={i}>
          <p class="note">
            {[`step ${sample.step}`, rewardText(sample)].filter(Boolean).join(", ")}
          </p>
          <SampleText sample={sample} config={run.config} shade={shade} />
        </div>
      ))}
    </div>
  )
}

function SampleText({
  sample: { tokens = [], probabilities = [], completion },
  config,
  shade,
}: {
  readonly sample: Sample
  readonly config: SampledRun["config"]
  readonly shade: Shade
}) {
  if (shade === "plain" || tokens.length === 0 || tokens.length !== probabilities.length) {
    return <div class="tokens">{completion}</div>
  }
  const weights = tokenWeights(probabilities, { config })
  return (
    <>
      {shade === "weight" && !weights && (
        <p class="note">The weights of this objective depend on more than p.</p>
      )}
      <Tokens
        tokens={tokens.map((text, i) => {
          // JSON says null of what is no number
          const p = (probabilities[i] ?? null) as number | null
          const weight = weights?.[i]
          const told = weight === undefined ? "" : `, weight ${weight.toPrecision(3)}`
          const value = shade === "p" ? p : (weight ?? null)
          return {
            text,
            value: value === null ? null : Math.min(1, Math.max(0, value)),
            title: `p = ${p?.toPrecision(3) ?? "–"}${told}`,
          }
        })}
      />
    </>
  )
}
