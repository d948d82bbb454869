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
import { shortNumber } from "./units.ts"

type Start = Extract<RunEvent, { type: "run.start" }>
type End = Extract<RunEvent, { type: "run.end" }>
type Warning = Extract<RunEvent, { type: "warning" }>

export interface RunSummary {
  /** The folder's name; with its parent's where runs of one comparison share it. */
  readonly name: string
  readonly path: string
  readonly start: Start | undefined
  readonly end: End | undefined
  readonly config: Readonly<Record<string, unknown>>
  /** One event a step: of steps done again after a resume, the last. */
  readonly steps: readonly StepEvent[]
  readonly evals: readonly EvalEvent[]
  readonly rollouts: readonly RolloutEvent[]
  readonly histograms: readonly HistogramEvent[]
  readonly samples: readonly SampleEvent[]
  readonly warnings: readonly Warning[]
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
    steps: lastOfEach(events, "step", ({ step }) => `${step}`),
    evals: lastOfEach(events, "eval", (event) => `${event.name} ${event.step}`),
    rollouts: lastOfEach(events, "rollout", ({ rollout }) => `${rollout}`),
    histograms: lastOfEach(events, "histogram", (event) => `${event.name} ${event.step}`),
    samples: lastOfEach(events, "sample", sampleKey),
    warnings: lastOfEach(events, "warning", ({ code }) => code),
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

/** Numbers of a run in one row: the ends of its curves, not its best moments. */
export interface RunFigures {
  readonly run: string
  readonly objective: string
  readonly state: string
  readonly steps: number
  readonly planned_steps: number
  /** Means over the last tenth of the steps. */
  readonly loss: number | null
  readonly nll: number | null
  readonly mean_p: number | null
  readonly effective_share: number | null
  readonly entropy: number | null
  readonly eos_p: number | null
  /** Share of the steps whose gradient was clipped; null where the config does not say the norm. */
  readonly clipped_share: number | null
  readonly tokens_per_second: number | null
  readonly memory_bytes: number | null
  readonly seconds: number | null
  /** Both ends of the curves. */
  readonly course: Readonly<Record<CourseField, CurveEnds>>
  /** The last evaluation of each set. */
  readonly evals: Readonly<Record<string, Pick<EvalEvent, EvalFigure>>>
  /** The first, where there were several. */
  readonly first_evals: Readonly<Record<string, Pick<EvalEvent, EvalFigure>>>
}

const COURSE_FIELDS = ["loss", "nll", "mean_p", "eos_p"] as const
type CourseField = (typeof COURSE_FIELDS)[number]

/** Means over the first and the last tenth of the steps. */
export interface CurveEnds {
  readonly start: number | null
  readonly end: number | null
  /** Standard error of `end`, from how its steps scatter; null of fewer than two. */
  readonly noise: number | null
}

/** A tenth of the steps, at least one. */
const tenth = ({ length }: { readonly length: number }) => Math.max(1, Math.ceil(length / 10))

function curveEnds(
  steps: readonly StepEvent[],
  value: (event: StepEvent) => number | null,
): CurveEnds {
  const numbers = (part: readonly StepEvent[]) =>
    part.map(value).filter((x): x is number => x !== null)
  const [first, last] = [steps.slice(0, tenth(steps)), steps.slice(-tenth(steps))].map(numbers)
  const end = mean(last!)
  const squares = last!.reduce((sum, x) => sum + (x - end!) ** 2, 0)
  const count = last!.length
  const noise = count < 2 ? null : Math.sqrt(squares / (count - 1) / count)
  return { start: mean(first!), end, noise }
}

/** `3.69 → 1.8 ±0.05`: start, end, and what of it is noise; one number of a run of one step. */
export function courseText({ start, end, noise }: CurveEnds): string {
  if (start === null || end === null) return shortNumber(end)
  const spread = noise === null ? "" : ` ±${shortNumber(noise, 2)}`
  return `${shortNumber(start)} → ${shortNumber(end)}${spread}`
}

/** What is shown of an evaluation. */
const EVAL_FIGURES = [
  ...(["step", "nll", "loss", "mean_p", "score", "n", "ci95"] as const),
  ...(["reward_margin", "reward_accuracy"] as const),
] as const
type EvalFigure = (typeof EVAL_FIGURES)[number]

export function runFigures(run: RunSummary): RunFigures {
  const { steps, start, end, config } = run
  const tail = steps.slice(-tenth(steps))
  const clip = config.max_grad_norm
  const clipped = steps.filter(({ grad_norm }) => grad_norm > (clip as number)).length
  const meanOf = (value: (event: StepEvent) => number | null) => {
    return mean(tail.map(value).filter((x): x is number => x !== null))
  }
  return {
    run: run.name,
    objective: start?.objective ?? objectiveName(config.objective) ?? "?",
    state: end?.reason ?? "unfinished",
    steps: steps.at(-1)?.step ?? 0,
    planned_steps: start?.steps ?? 0,
    loss: meanOf((event) => event.loss),
    nll: meanOf((event) => event.nll),
    mean_p: meanOf((event) => event.mean_p),
    effective_share: meanOf(effectiveShare(steps)),
    entropy: meanOf((event) => event.entropy),
    eos_p: meanOf((event) => event.eos_p),
    clipped_share:
      typeof clip === "number" && clip > 0 && steps.length > 0 ? clipped / steps.length : null,
    tokens_per_second: median(steps.map((event) => event.tokens_per_second)),
    memory_bytes:
      steps.length === 0 ? null : steps.reduce((m, e) => Math.max(m, e.memory_bytes), 0),
    seconds: seconds(run),
    course: Object.fromEntries(
      COURSE_FIELDS.map((field) => [field, curveEnds(steps, (event) => event[field])]),
    ) as RunFigures["course"],
    evals: evalFigures(run.evals),
    first_evals: evalFigures(run.evals.filter(isRepeated(run.evals)), "first"),
  }
}

/** Whether a set was evaluated more than once. */
function isRepeated(evals: readonly EvalEvent[]): (event: EvalEvent) => boolean {
  const last = new Map(evals.map(({ name, step }) => [name, step]))
  const again = new Set(evals.filter((e) => last.get(e.name) !== e.step).map(({ name }) => name))
  return ({ name }) => again.has(name)
}

/** The last evaluation of each set, or the first. */
function evalFigures(evals: readonly EvalEvent[], which = "last"): RunFigures["evals"] {
  const ordered = which === "last" ? evals : [...evals].reverse()
  return Object.fromEntries(
    ordered.map((event) => {
      const given = EVAL_FIGURES.map((field) => [field, event[field]] as const)
      return [event.name, Object.fromEntries(given.filter(([, value]) => value !== undefined))]
    }),
  ) as RunFigures["evals"]
}

/** Effective tokens over the step's own supervised tokens (events count those of the run so far). */
export function effectiveShare(steps: readonly StepEvent[]): (event: StepEvent) => number | null {
  const before = new Map(steps.map((event, k) => [event.step, steps[k - 1]]))
  return (event) => {
    const previous = before.get(event.step)
    if (previous === undefined && event.step !== 1) return null
    const count = event.supervised_tokens - (previous?.supervised_tokens ?? 0)
    const steps_ = event.step - (previous?.step ?? 0)
    const { effective_tokens: effective } = event
    return count > 0 && steps_ === 1 && effective !== undefined ? effective / count : null
  }
}

/** Time between the first and the last event; idle time between a kill and its resume is in it. */
function seconds({ start, end, steps }: RunSummary): number | null {
  const from = Date.parse(start?.time ?? steps[0]?.time ?? "")
  const to = Date.parse(end?.time ?? steps.at(-1)?.time ?? "")
  return Number.isFinite(to - from) ? Math.max(0, to - from) / 1000 : null
}

export function objectiveName(objective: unknown): string | undefined {
  if (typeof objective === "string") return objective
  const { name } = asRecord(objective)
  return typeof name === "string" ? name : undefined
}

function asRecord(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {}
}

function mean(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((a, b) => a + b, 0) / values.length
}

function median(values: readonly number[]): number | null {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b)
  return sorted[(sorted.length - 1) >> 1] ?? null
}
