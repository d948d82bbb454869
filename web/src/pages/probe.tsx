import { bytesText, duration, number, shortName } from "../parts/words.ts"

/** What `dftune probe --json` says. */
export interface Probed {
  readonly sources: readonly {
    readonly source: string
    readonly rows: number
    readonly mean_p: number
    readonly unlikely: number
    readonly advice: string
    readonly why: string
  }[]
  readonly estimate: {
    readonly memory_bytes: number
    readonly seconds: number
    readonly seconds_per_step: number
    readonly steps: number
  } | null
  readonly warnings: readonly {
    readonly code: string
    readonly message: string
    readonly hint: string
  }[]
}

/** Whether the data suit the objective, and what the run will cost. */
export function Probe({
  probed: { sources, estimate, warnings },
  isOld,
}: {
  readonly probed: Probed
  /** Whether the settings have changed since. */
  readonly isOld: boolean
}) {
  return (
    <section class="card" aria-label="Probe">
      <h2>What the probe says</h2>
      {isOld && <p class="problem">Of the settings before they were changed. Probe once more.</p>}
      {estimate && (
        <p>
          {estimate.steps} steps, about {duration(estimate.seconds)} and{" "}
          {bytesText(estimate.memory_bytes)} of memory; {number(estimate.seconds_per_step)} s a
          step.
        </p>
      )}
      <ul>
        {sources.map(({ source, rows, mean_p, unlikely, advice, why }) => (
          <li key={source}>
            <b>{shortName(source)}</b>: of {rows} rows the model gives the targets a mean
            probability of {number(mean_p)}, {Math.round(100 * unlikely)} % of them below 0.1.
            Advice: <b>{advice}</b>, {why}
          </li>
        ))}
      </ul>
      <div class="warnings">
        {warnings.map(({ code, message, hint }) => (
          <details key={code + message}>
            <summary>
              <b>{code}</b> {message}
            </summary>
            <p class="note">{hint}</p>
          </details>
        ))}
      </div>
    </section>
  )
}
