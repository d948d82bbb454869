import { useState } from "preact/hooks"
import { Curves, colorAt } from "./curves.tsx"
import { Evaluations } from "./evaluations.tsx"
import { useRuns } from "./run-state.ts"
import { type Sample, SampleText, useSamples } from "./samples.tsx"
import { Differences, useSettings } from "./settings.tsx"
import { useStore } from "./store.ts"
import { number, stateOf } from "./words.ts"

/** Runs over each other: one colour a line is enough for six. */
export const MOST_COMPARED = 6

export function Compare({ names }: { readonly names: readonly string[] }) {
  const { runs: all } = useStore()
  const known = names.filter((name) => all.has(name)).slice(0, MOST_COMPARED)
  const { runs, problem } = useRuns(known)
  const { settings } = useSettings(known)
  const there = runs.filter((run) => run !== undefined)
  const told = settings.filter((one) => one !== undefined)
  return (
    <>
      <h1>Compare</h1>
      {known.length === 0 && (
        <p>
          Tick runs in the <a href="#/">list</a>, and they are drawn over each other here.
        </p>
      )}
      {problem && <p class="problem">{problem}</p>}
      {known.length > 0 && (
        <ul class="legend" aria-label="Runs compared">
          {known.map((name, i) => {
            const run = all.get(name)!
            return (
              <li key={name}>
                <i class="swatch" style={{ background: `var(${colorAt(i)})` }} />
                <a href={`#/run/${encodeURIComponent(name)}`}>{name}</a>{" "}
                <span class="note">
                  {stateOf(run)}, {run.objective ?? "–"}, NLL {number(run.last_step?.nll)}
                  {run.best_eval &&
                    `, best ${run.best_eval.measure} ${number(run.best_eval.value)}`}
                </span>
              </li>
            )
          })}
        </ul>
      )}
      {there.length > 0 && there.length === known.length && <Curves runs={there} />}
      {told.length > 1 && told.length === known.length && (
        <section class="card" aria-label="Settings that differ">
          <h2>Settings that differ</h2>
          <Differences names={known} settings={told} />
        </section>
      )}
      {known.length > 1 && <SamplesBeside names={known.slice(0, 2)} />}
      <Evaluations />
    </>
  )
}

/** Of the prompts that both runs were asked, the newest answer of each. */
function SamplesBeside({ names }: { readonly names: readonly string[] }) {
  const [a = "", b = ""] = names
  const first = useSamples(a, 0)
  const second = useSamples(b, 0)
  const [shown, setShown] = useState(3)
  if (!first.samples || !second.samples) return null
  const newest = (samples: readonly Sample[]) =>
    new Map(samples.map((sample) => [String(sample.prompt), sample]))
  const theirs = newest(second.samples)
  const shared = [...newest(first.samples)].filter(([prompt]) => theirs.has(prompt))
  if (shared.length === 0) return null
  return (
    <section class="card" aria-label="Samples side by side">
      <h2>Samples side by side</h2>
      {shared.slice(0, shown).map(([prompt, sample]) => (
        <article key={prompt} class="sample">
          <div class="tokens context">{prompt}</div>
          <div class="split">
            {[[a, sample] as const, [b, theirs.get(prompt)!] as const].map(([name, one]) => (
              <div key={name}>
                <p class="note">
                  {name}, step {one.step ?? "–"}
                </p>
                <SampleText sample={one} />
              </div>
            ))}
          </div>
        </article>
      ))}
      {shared.length > shown && (
        <button type="button" onClick={() => setShown(shown + 10)}>
          More of {shared.length}
        </button>
      )}
    </section>
  )
}
