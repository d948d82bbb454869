/**
 * A run in one row of numbers: the ends of its curves, not its best moments. Runs in a browser too.
 */
import type { EvalEvent, RunEvent } from "../run/events.ts"
import { type Columns, effectiveShare } from "./columns.ts"
import { gapText, shortNumber } from "./units.ts"

/** Means over the first and the last tenth of the steps. */
export interface CurveEnds {
  readonly start: number | null
  readonly end: number | null
  /** Standard error of `end`, from how its steps scatter; null of fewer than two. */
  readonly noise: number | null
}

const COURSE_FIELDS = ["loss", "nll", "mean_p", "eos_p"] as const
type CourseField = (typeof COURSE_FIELDS)[number]

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
  /** Of the samples' rewards, over the rollouts; of runs that sample. */
  readonly reward?: CurveEnds
  /** The last evaluation of each set. */
  readonly evals: Readonly<Record<string, Pick<EvalEvent, EvalFigure>>>
  /** The first, where there were several. */
  readonly first_evals: Readonly<Record<string, Pick<EvalEvent, EvalFigure>>>
}

/** What figures are made of. */
export interface ToldRun {
  readonly name: string
  readonly start: Extract<RunEvent, { type: "run.start" }> | undefined
  readonly end: Extract<RunEvent, { type: "run.end" }> | undefined
  readonly config: Readonly<Record<string, unknown>>
  /** Of the steps, each once. */
  readonly columns: Columns
  readonly rollouts: Columns
  readonly evals: readonly EvalEvent[]
}

export function figuresOf(run: ToldRun): RunFigures {
  const { columns, start, end, config } = run
  const column = (name: string) => columns.get(name) ?? []
  const clip = config.max_grad_norm
  const norms = column("grad_norm")
  const clipped = norms.filter((norm) => norm > (clip as number)).length
  const count = column("step").length
  const course = Object.fromEntries(
    COURSE_FIELDS.map((field) => [field, curveEnds(column(field))]),
  ) as RunFigures["course"]
  const memory = column("memory_bytes").filter(Number.isFinite)
  return {
    run: run.name,
    objective: start?.objective ?? objectiveName(config.objective) ?? "?",
    state: end?.reason ?? "unfinished",
    steps: column("step").at(-1) ?? 0,
    planned_steps: start?.steps ?? 0,
    loss: course.loss.end,
    nll: course.nll.end,
    mean_p: course.mean_p.end,
    effective_share: curveEnds(effectiveShare(columns)).end,
    entropy: curveEnds(column("entropy")).end,
    eos_p: course.eos_p.end,
    clipped_share: typeof clip === "number" && clip > 0 && count > 0 ? clipped / count : null,
    tokens_per_second: median(column("tokens_per_second")),
    memory_bytes: memory.length === 0 ? null : memory.reduce((m, one) => Math.max(m, one), 0),
    seconds: seconds(run),
    course,
    ...(run.rollouts.size === 0 ? {} : { reward: curveEnds(run.rollouts.get("reward") ?? []) }),
    evals: evalFigures(run.evals),
    first_evals: evalFigures(run.evals.filter(isRepeated(run.evals)), "first"),
  }
}

/** A tenth of the steps, at least one. */
const tenth = ({ length }: { readonly length: number }) => Math.max(1, Math.ceil(length / 10))

function curveEnds(values: readonly number[]): CurveEnds {
  const first = values.slice(0, tenth(values)).filter(Number.isFinite)
  const last = values.slice(-tenth(values)).filter(Number.isFinite)
  const end = mean(last)
  const squares = last.reduce((sum, x) => sum + (x - end!) ** 2, 0)
  const count = last.length
  const noise = count < 2 ? null : Math.sqrt(squares / (count - 1) / count)
  return { start: mean(first), end, noise }
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
  ...(["reward_margin", "reward_accuracy", "nll_gap"] as const),
] as const
type EvalFigure = (typeof EVAL_FIGURES)[number]

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

/** Time between the first and the last event; idle time between a kill and its resume is in it. */
function seconds({ start, end, columns }: ToldRun): number | null {
  const times = columns.get("time") ?? []
  const from = start ? Date.parse(start.time) : (times[0] ?? Number.NaN)
  const to = end ? Date.parse(end.time) : (times.at(-1) ?? Number.NaN)
  return Number.isFinite(to - from) ? Math.max(0, to - from) / 1000 : null
}

export function objectiveName(objective: unknown): string | undefined {
  if (typeof objective === "string") return objective
  if (typeof objective !== "object" || objective === null) return undefined
  const { name } = objective as { name?: unknown }
  return typeof name === "string" ? name : undefined
}

function mean(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((a, b) => a + b, 0) / values.length
}

function median(values: readonly number[]): number | null {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b)
  return sorted[(sorted.length - 1) >> 1] ?? null
}

/** The first evaluation of a set and the last, in words, number by number. */
export function evalCourse({ evals, first_evals: first }: RunFigures, set: string): string {
  const [then, now] = [first[set], evals[set]]
  if (then === undefined || now === undefined) return evalText(now)
  const before = new Map(evalParts(then))
  return evalParts(now)
    .map(([name, value]) => {
      const begun = before.get(name)
      return joined(name, begun === undefined ? value : `${begun} → ${value}`)
    })
    .join(", ")
}

/** An evaluation in words: score with its interval, or NLL and mean p. */
export function evalText(result: Evaluated | undefined): string {
  if (result === undefined) return "–"
  return evalParts(result)
    .map(([name, value]) => joined(name, value))
    .join(", ")
}

type Evaluated = Omit<Partial<EvalEvent>, "type">

const joined = (name: string, value: string): string => (name === "" ? value : `${name} ${value}`)

/** What an evaluation found, each with its name; those that need none have "". */
function evalParts(result: Evaluated): (readonly [name: string, value: string])[] {
  const { score, ci95, n, nll, mean_p, reward_margin, reward_accuracy, nll_gap } = result
  const parts: (readonly [string, string])[] = []
  if (score !== undefined) {
    const range = ci95 === undefined ? "" : ` [${shortNumber(ci95[0])}, ${shortNumber(ci95[1])}]`
    parts.push(["", `${shortNumber(score)}${range}${n === undefined ? "" : `, n ${n}`}`])
  }
  if (nll !== undefined) parts.push(["NLL", shortNumber(nll)])
  if (nll_gap !== undefined) parts.push(["", gapText(nll_gap)])
  if (mean_p !== undefined) parts.push(["p", shortNumber(mean_p)])
  if (reward_margin !== undefined) parts.push(["margin", shortNumber(reward_margin)])
  if (reward_accuracy !== undefined) parts.push(["accuracy", shortNumber(reward_accuracy)])
  return parts
}
