/**
 * A run's data as a report holds it: what the page of runs draws, as JSON. Runs in a browser too.
 */
import type { RunDetails } from "../run/run-index.ts"
import type { ThinnedHistograms } from "../run/thinned.ts"
import type { RunFigures } from "./run-figures.ts"
import type { Sample } from "./sample-rows.ts"

type Events = Omit<RunDetails, "columns" | "histograms">

export interface FrozenRun extends Events {
  readonly name: string
  /** Steps that each row of the columns is the mean of. */
  readonly every: number
  readonly columns: readonly (readonly [name: string, values: readonly (number | null)[]])[]
  readonly histograms: readonly (readonly [name: string, all: ThinnedHistograms])[]
  readonly config: Readonly<Record<string, unknown>>
  readonly versions: Readonly<Record<string, unknown>>
  readonly figures: RunFigures
  readonly samples: readonly Sample[]
  /** Lines of events.jsonl that are no event. */
  readonly badLines: readonly number[]
}

/** What a run's charts take. */
export function thawedDetails({ columns, histograms, ...events }: FrozenRun): RunDetails {
  return {
    ...events,
    columns: new Map(columns.map(([name, values]) => [name, values.map((x) => x ?? Number.NaN)])),
    histograms: new Map(histograms),
  }
}
