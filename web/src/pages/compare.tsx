import type { RunSettings } from "../../../src/server/one-run-routes.ts"
import { measureName, number, stateOf } from "../parts/words.ts"
import { Curves, colorAt } from "../run-view/curves.tsx"
import { Figures } from "../run-view/figures.tsx"
import { SamplesBeside } from "../run-view/samples-beside.tsx"
import { Differences } from "../run-view/settings-table.tsx"
import { Evaluations } from "./evaluations.tsx"
import { toldFigures, useRuns } from "./run-state.ts"
import { useSamples } from "./samples.tsx"
import { useSettings } from "./settings.tsx"
import { useStore } from "./store.ts"

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
                    `, best ${measureName(run.best_eval.measure)} ${number(run.best_eval.value)}`}
                </span>
              </li>
            )
          })}
        </ul>
      )}
      {there.length > 0 && there.length === known.length && <Curves runs={there} />}
      {there.length > 0 && there.length === known.length && told.length === known.length && (
        <Figures figures={there.map((run, i) => toldFigures(run, told[i]!.config))} />
      )}
      {told.length > 1 && told.length === known.length && (
        <section class="card" aria-label="Settings that differ">
          <h2>Settings that differ</h2>
          <Differences names={known} settings={told} />
        </section>
      )}
      {told.length > 1 && told.length === known.length && (
        <ComparedSamples names={known} settings={told} />
      )}
      <Evaluations />
    </>
  )
}

/** What runs answered to the same prompts. */
function ComparedSamples({
  names,
  settings,
}: {
  readonly names: readonly string[]
  readonly settings: readonly RunSettings[]
}) {
  const { read } = useSamples(names, 0)
  if (!read) return null
  const runs = names.map((name, i) => ({
    ...{ name, config: settings[i]!.config, samples: read[i]!.samples },
  }))
  return <SamplesBeside runs={runs} />
}
