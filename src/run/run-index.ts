/** What the page shows of a run's events without reading them again. */
import type { EvalEvent, RunEvent, RunStart, WarningEvent } from "./events.ts"
import {
  addHistogram,
  addValue,
  emptyHistograms,
  emptySeries,
  type Thinned,
  type ThinnedHistograms,
} from "./thinned.ts"

type Of<Type extends RunEvent["type"]> = Extract<RunEvent, { type: Type }>

interface Best {
  readonly value: number
  readonly step: number
}

/** The small part: all that a list of runs shows. */
export interface RunSummary {
  /** Of the last line that is in here; the byte after it. */
  last: string | undefined
  end: number
  start: RunStart | undefined
  ended: Of<"run.end"> | undefined
  step: Of<"step"> | undefined
  evaluation: EvalEvent | undefined
  /** By the name of what was evaluated: the highest score, or the lowest NLL. */
  readonly best: Map<string, { score?: Best; nll?: Best }>
  warnings: number
  /** NLL of the steps. */
  nll: Thinned
}

/** The large part, of a run that somebody looks at. */
export interface RunDetails {
  /** One number a step event, by the field's name; NaN for none. `time` is in ms since 1970. */
  readonly columns: Map<string, number[]>
  readonly starts: RunStart[]
  readonly evals: EvalEvent[]
  readonly warnings: WarningEvent[]
  readonly checkpoints: Of<"checkpoint">[]
  readonly rollouts: Of<"rollout">[]
  readonly ends: Of<"run.end">[]
  /** By name: `train`, or an evaluation's. */
  readonly histograms: Map<string, ThinnedHistograms>
}

export interface RunIndex {
  readonly summary: RunSummary
  readonly details: RunDetails
}

export const emptyIndex = (): RunIndex => ({
  summary: {
    ...{ last: undefined, end: 0, start: undefined, ended: undefined, step: undefined },
    ...{ evaluation: undefined, best: new Map(), warnings: 0, nll: emptySeries() },
  },
  details: {
    columns: new Map(),
    ...{ starts: [], evals: [], warnings: [], checkpoints: [], rollouts: [], ends: [] },
    histograms: new Map(),
  },
})

/** Of events that come without end the last are kept. */
const MOST_EVENTS = 20_000

export function take({ summary, details }: RunIndex, event: RunEvent): void {
  if (event.type === "step") {
    summary.step = event
    if (Number.isFinite(event.nll)) addValue(summary.nll, event.nll)
    takeStep(details.columns, event)
  } else if (event.type === "histogram") takeHistogram(details.histograms, event)
  else if (event.type === "eval") {
    summary.evaluation = event
    takeBest(summary.best, event)
    keep(details.evals, event)
  } else if (event.type === "run.start") {
    summary.start = event
    summary.ended = undefined
    keep(details.starts, event)
  } else if (event.type === "run.end") {
    summary.ended = event
    keep(details.ends, event)
  } else if (event.type === "warning") {
    summary.warnings++
    keep(details.warnings, event)
  } else if (event.type === "checkpoint") keep(details.checkpoints, event)
  else if (event.type === "rollout") keep(details.rollouts, event)
}

export function takeHistogram(
  histograms: RunDetails["histograms"],
  { name, step, bins, small_bins }: Of<"histogram">,
): void {
  const all = histograms.get(name) ?? emptyHistograms()
  histograms.set(name, all)
  addHistogram(all, { step, counts: [...small_bins, ...bins] })
}

function keep<Event>(events: Event[], event: Event): void {
  events.push(event)
  if (events.length > MOST_EVENTS) events.splice(0, MOST_EVENTS / 10)
}

function takeBest(best: RunSummary["best"], { name, step, score, nll }: EvalEvent): void {
  const own = best.get(name) ?? {}
  best.set(name, own)
  if (typeof score === "number" && !(score <= (own.score?.value ?? -Infinity))) {
    own.score = { value: score, step }
  }
  if (typeof nll === "number" && !(nll >= (own.nll?.value ?? Infinity))) {
    own.nll = { value: nll, step }
  }
}

/** Numbers, and groups of them, of which none holds a group. */
type NumberedEvent = Of<"step"> | Omit<Of<"rollout">, "rewards">

/** Every number of an event, those in groups as `group.name`. */
export function eventNumbers(event: NumberedEvent): [name: string, value: number][] {
  return Object.entries(event).flatMap(([key, value]): [string, number][] => {
    if (typeof value === "number") return [[key, value]]
    if (key === "time") return [[key, Date.parse(value as string)]]
    if (typeof value !== "object" || value === null) return []
    const inner = Object.entries(value).filter(([, one]) => typeof one === "number")
    return inner.map(([name, one]) => [`${key}.${name}`, one as number])
  })
}

function takeStep(columns: RunDetails["columns"], event: Of<"step">): void {
  const before = columns.get("step")?.length ?? 0
  for (const [name, value] of eventNumbers(event)) {
    const column = columns.get(name) ?? new Array<number>(before).fill(Number.NaN)
    columns.set(name, column)
    if (column.length === before) column.push(value) // else a group's, named as one outside is
  }
  fillRow(columns, before)
}

/** NaN in each column that the step told nothing of. */
export function fillRow(columns: RunDetails["columns"], before: number): void {
  for (const column of columns.values()) if (column.length === before) column.push(Number.NaN)
}
