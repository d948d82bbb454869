import { type FrozenRun, thawedDetails } from "../../../src/report/frozen-run.ts"
import { Curves } from "../run-view/curves.tsx"
import { Figures } from "../run-view/figures.tsx"
import { HistogramOverSteps } from "../run-view/histograms.tsx"
import { RunLog, Warnings } from "../run-view/run-log.tsx"
import { SamplesBeside } from "../run-view/samples-beside.tsx"
import { AllSettings, Differences } from "../run-view/settings-table.tsx"

/** The run view of the page, frozen: all of its parts below each other. */
export function Report({ runs }: { readonly runs: readonly FrozenRun[] }) {
  const shown = runs.map((run) => ({ name: run.name, version: 0, details: thawedDetails(run) }))
  const many = runs.length > 1
  const joined = runs.filter(({ every }) => every > 1)
  return (
    <>
      <Figures figures={runs.map(({ figures }) => figures)} />
      {shown.map((run, i) => (
        <Warnings key={run.name} run={run} many={many} badLines={runs[i]!.badLines} open />
      ))}
      <Curves runs={shown} />
      {joined.map(({ name, every }) => (
        <p key={name} class="note">
          {name}: each point is the mean of {every} steps.
        </p>
      ))}
      {shown.map((run) => (
        <HistogramOverSteps key={run.name} run={run} many={many} />
      ))}
      <SamplesBeside runs={runs} />
      <section aria-label={many ? "Settings that differ" : "Settings"}>
        <h2>{many ? "Settings that differ" : "Settings"}</h2>
        {many && <Differences names={runs.map(({ name }) => name)} settings={runs} />}
        {runs.map(({ name, config, versions }) => (
          <details key={name}>
            <summary>All settings{many && ` of ${name}`}</summary>
            <AllSettings config={config} versions={versions} />
          </details>
        ))}
      </section>
      <section aria-label="Log">
        <h2>Log</h2>
        {shown.map((run) => (
          <details key={run.name}>
            <summary>What {many ? run.name : "the run"} told beside its steps</summary>
            <RunLog run={run} />
          </details>
        ))}
      </section>
    </>
  )
}
