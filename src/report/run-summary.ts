/** A run folder digested for comparison: what `compare` prints and the report draws. */
import { basename, resolve } from "node:path"
import type {
  EvalEvent,
  HistogramEvent,
  RolloutEvent,
  RunEvent,
  SampleEvent,
  StepEvent,
} from "../run/events.ts"
import type { RunRead } from "../run/run-folder.ts"
import { rolloutColumns, stepColumns } from "./columns.ts"
import { figuresOf, type RunFigures } from "./run-figures.ts"

type Start = Extract<RunEvent, { type: "run.start" }>
type End = Extract<RunEvent, { type: "run.end" }>
type Checkpoint = Extract<RunEvent, { type: "checkpoint" }>
type Warning = Extract<RunEvent, { type: "warning" }>

export interface RunSummary {
  /** The folder's name; with its parent's where runs of one comparison share it. */
  readonly name: string
  readonly path: string
  readonly start: Start | undefined
  readonly end: End | undefined
  readonly config: Readonly<Record<string, unknown>>
  readonly versions: Readonly<Record<string, unknown>>
  /** One event a step: of steps done again after a resume, the last. */
  readonly steps: readonly StepEvent[]
  readonly evals: readonly EvalEvent[]
  readonly rollouts: readonly RolloutEvent[]
  readonly histograms: readonly HistogramEvent[]
  readonly samples: readonly SampleEvent[]
  readonly warnings: readonly Warning[]
  readonly checkpoints: readonly Checkpoint[]
  /** Lines of events.jsonl that are no event. */
  readonly badLines: readonly number[]
}

export function summarizeRuns(runs: readonly RunRead[]): RunSummary[] {
  const names = runs.map(({ path }) => basename(resolve(path)))
  return runs.map((run, index) => {
    const name = names[index]!
    const shared = names.filter((other) => other === name).length > 1
    return summarizeRun(run, shared ? `${basename(resolve(run.path, ".."))}/${name}` : name)
  })
}

export function summarizeRun(
  { path, record, events, badLines }: RunRead,
  name: string,
): RunSummary {
  const last = <Type extends RunEvent["type"]>(type: Type) =>
    events.findLast((event) => event.type === type) as Extract<RunEvent, { type: Type }> | undefined
  return {
    name,
    path,
    start: last("run.start"),
    end: last("run.end"),
    config: asRecord(asRecord(record).config),
    versions: asRecord(asRecord(record).versions),
    steps: lastOfEach(events, "step", ({ step }) => `${step}`),
    evals: lastOfEach(events, "eval", (event) => `${event.name} ${event.step}`),
    rollouts: lastOfEach(events, "rollout", ({ rollout }) => `${rollout}`),
    histograms: lastOfEach(events, "histogram", (event) => `${event.name} ${event.step}`),
    samples: lastOfEach(events, "sample", sampleKey),
    warnings: lastOfEach(events, "warning", ({ code }) => code),
    checkpoints: lastOfEach(events, "checkpoint", (event) => event.path),
    badLines,
  }
}

/** A rollout has several samples of a prompt. */
const sampleKey = ({ prompt, step, reward, completion }: SampleEvent) =>
  `${prompt} ${step}${reward === undefined ? "" : ` ${completion}`}`

/** The events of a type by step; of several with one key, the last written. */
function lastOfEach<Type extends RunEvent["type"]>(
  events: readonly RunEvent[],
  type: Type,
  key: (event: Extract<RunEvent, { type: Type }>) => string,
): Extract<RunEvent, { type: Type }>[] {
  const found = new Map<string, Extract<RunEvent, { type: Type }>>()
  for (const event of events) {
    if (event.type !== type) continue
    const same = event as Extract<RunEvent, { type: Type }>
    found.set(key(same), same)
  }
  return [...found.values()].sort((a, b) => a.step - b.step)
}

/** See {@link RunFigures}. */
export function runFigures(run: RunSummary): RunFigures {
  const { steps, rollouts, ...rest } = run
  const columns = stepColumns(steps)
  return figuresOf({ ...rest, columns, rollouts: rolloutColumns(rollouts) })
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {}
}
