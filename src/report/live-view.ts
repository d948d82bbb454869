/** A run as seen in a terminal: live lines on a TTY, a few quiet lines elsewhere. */
import picocolors from "picocolors"
import { printableLine } from "../host/printable.ts"
import type {
  EvalEvent,
  RolloutEvent,
  RunEnd,
  RunEvent,
  RunStart,
  SampleEvent,
  StepEvent,
  TimeShares,
  WarningEvent,
} from "../run/events.ts"
import {
  gapText,
  precisionText,
  shortBytes,
  shortCount,
  shortDuration,
  shortNumber,
} from "./units.ts"

export interface TerminalOptions {
  /** Live lines that are drawn over; without, one line now and then. */
  readonly live: boolean
  readonly color: boolean
  /** Width in characters, asked again for every line: windows are resized. */
  readonly columns: () => number
}

export interface TerminalView {
  readonly show: (event: RunEvent) => void
  /** What is being done until the next step; drawn over, and only where lines are live. */
  readonly status: (text: string) => void
  /** Takes the live lines away, for something that is said above them; `draw` puts them back. */
  readonly clear: () => void
  readonly draw: () => void
  /** Leaves the last live lines standing and the cursor below them. Safe to call twice. */
  readonly close: () => void
}

/**
 * How `stream` wants it: live on a terminal, coloured there unless NO_COLOR or TERM=dumb refuse.
 */
export function terminalOptions(
  stream: Pick<NodeJS.WriteStream, "isTTY" | "columns">,
  environment: NodeJS.ProcessEnv = process.env,
): TerminalOptions {
  const dumb = environment.TERM === "dumb"
  const live = stream.isTTY === true && !dumb
  return { live, color: live && !environment.NO_COLOR, columns: () => stream.columns ?? 80 }
}

/**
 * Lines of a run without a terminal: about this many for its steps, and one in this time at least.
 */
const QUIET_LINES = 20
const QUIET_MS = 10_000
/** Steps over which the time left is estimated. */
const RATE_STEPS = 20

type Colors = ReturnType<typeof picocolors.createColors>

/** Shows events as text through `write`. Keeps at most a screen's width of history. */
export function terminalView(
  write: (text: string) => void,
  { live, color, columns }: TerminalOptions,
): TerminalView {
  const colors = picocolors.createColors(color)
  const { dim, green, red, yellow } = colors
  const recent: { nll: number; time: number; step: number }[] = []
  let steps = 0
  let last: StepEvent | undefined
  let rollout: RolloutEvent | undefined
  let watched: string | undefined
  let doing: string | undefined
  const isDue = quietSteps()

  const stepLine = (event: StepEvent, width: number): string =>
    fitting(stepFields(event, { steps, left: secondsLeft(recent, steps), rollout }), width, colors)
  const { clear, draw, say, leave } = standingLines(write, () => {
    if (!live) return []
    const width = Math.max(20, columns() - 1)
    const nlls = recent.map(({ nll }) => nll)
    return [
      ...(last === undefined ? [] : [stepLine(last, width), historyLine(nlls, width, colors)]),
      ...(doing === undefined ? [] : [dim(printableLine(doing).slice(0, width))]),
    ]
  })

  const showers: { readonly [Type in RunEvent["type"]]: (event: never) => void } = {
    "run.start": (event: RunStart) => {
      steps = event.steps
      say(startLine(event))
      const plan = planLine(event)
      if (plan !== "") say(dim(plan))
    },
    step: (event: StepEvent) => {
      clear()
      doing = undefined
      last = event
      recent.push({ nll: event.nll, time: Date.parse(event.time), step: event.step })
      if (recent.length > 500) recent.shift()
      if (!live && isDue(event, steps)) write(`${stepLine(event, 200)}\n`)
      draw()
    },
    rollout: (event: RolloutEvent) => {
      rollout = event
    },
    eval: (event: EvalEvent) => say(evalLine(event)),
    warning: (event: WarningEvent) => say(warningLines(event, colors)),
    checkpoint: (event: Extract<RunEvent, { type: "checkpoint" }>) => {
      say(dim(`checkpoint ${printableLine(event.path)}`))
    },
    sample: (event: SampleEvent) => {
      // Of the prompts one is followed: the report has them all.
      if (event.reward !== undefined) return
      watched ??= event.prompt
      if (event.prompt !== watched) return
      for (const line of sampleLines(event, dim)) say(line)
    },
    histogram: () => {},
    replay: () => {},
    reset: () => {},
    "run.end": (event: RunEnd) => {
      close()
      const mark = event.reason === "failed" ? red : event.reason === "done" ? green : yellow
      const more = event.message === undefined ? "" : ` ${printableLine(event.message)}`
      const output = event.output === undefined ? "" : ` → ${printableLine(event.output)}`
      write(`${mark(event.reason)}${more}${output}\n`)
      if (event.time_shares) write(`${dim(sharesLine(event.time_shares))}\n`)
    },
  }

  const status = (text: string) => {
    if (!live) return
    clear()
    doing = text
    draw()
  }
  const close = () => {
    if (doing !== undefined) {
      clear()
      doing = undefined
      draw()
    }
    leave()
    last = undefined
  }
  return { show: (event) => showers[event.type](event as never), status, clear, draw, close }
}

/** The lines at the end of a terminal that are drawn over, and what is said above them. */
function standingLines(write: (text: string) => void, lines: () => readonly string[]) {
  let drawn = 0
  const clear = () => {
    if (drawn === 0) return
    write(`\r\x1b[2K${"\x1b[1A\x1b[2K".repeat(drawn - 1)}`)
    drawn = 0
  }
  const draw = () => {
    const shown = lines()
    if (shown.length === 0) return
    write(shown.join("\n"))
    drawn = shown.length
  }
  const say = (text: string) => {
    clear()
    write(`${text}\n`)
    draw()
  }
  const leave = () => {
    if (drawn > 0) write("\n")
    drawn = 0
  }
  return { clear, draw, say, leave }
}

/** Which steps have a line where none is drawn over. */
function quietSteps(): (event: StepEvent, steps: number) => boolean {
  let shownStep = 0
  let shownAt = Number.POSITIVE_INFINITY
  return ({ step, time: told }, steps) => {
    const every = Math.max(1, Math.ceil(steps / QUIET_LINES))
    const time = Date.parse(told)
    const isNext = step === 1 || step === steps || step >= shownStep + every
    if (!isNext && time - shownAt < QUIET_MS) return false
    shownStep = step - (step % every)
    shownAt = time
    return true
  }
}

type Field = readonly [name: string, value: string]

/** Those at the end are the ones to miss on a narrow terminal. */
function stepFields(
  event: StepEvent,
  run: {
    readonly steps: number
    readonly left: number | undefined
    readonly rollout: RolloutEvent | undefined
  },
): Field[] {
  const { steps, left, rollout } = run
  const { reward_margin: margin, reward_accuracy: accuracy } = event
  return [
    ["step", `${event.step}/${steps}`],
    ...(rollout === undefined
      ? []
      : [
          ...rewardFields(rollout),
          ["length", shortNumber(rollout.completion_length.mean)] as const,
        ]),
    ["loss", shortNumber(event.loss)],
    ["nll", shortNumber(event.nll)],
    margin === undefined ? ["p", shortNumber(event.mean_p)] : ["margin", shortNumber(margin)],
    ...(accuracy === undefined ? [] : [["accuracy", shortNumber(accuracy)] as const]),
    ...(left === undefined ? [] : [["left", shortDuration(left)] as const]),
    ["tok/s", shortCount(event.tokens_per_second)],
    ["mem", shortBytes(event.memory_bytes)],
    ...(event.eos_p === null ? [] : [["eos p", shortNumber(event.eos_p)] as const]),
    ["grad", shortNumber(event.grad_norm)],
    ["lr", shortNumber(event.learning_rate)],
  ]
}

/** As many of the fields as `width` characters hold. */
function fitting(fields: readonly Field[], width: number, { dim, bold }: Colors): string {
  let used = 0
  const shown = fields.filter(([name, value]) => {
    used += name.length + value.length + (used === 0 ? 1 : 4)
    return used <= width
  })
  return shown.map(([name, value]) => `${dim(name)} ${bold(value)}`).join(dim(" · "))
}

const historyLine = (nlls: readonly number[], width: number, { dim, cyan }: Colors): string =>
  `${dim("nll")} ${cyan(sparkline(nlls.slice(-(width - 4))))}`

function warningLines({ message, code, hint }: WarningEvent, { yellow, dim }: Colors): string {
  const what = `${yellow("warning")} ${printableLine(message)} ${dim(`[${printableLine(code)}]`)}`
  return hint === "" ? what : `${what}\n  ${printableLine(hint)}`
}

function startLine({
  run_id,
  name = run_id,
  objective,
  engine,
  device,
  dtype,
  parameters,
  steps,
  ...more
}: RunStart) {
  const { trained, total } = parameters
  const share = trained === total ? "" : ` of ${shortCount(total)}`
  const resumed = more.resumed_from === undefined ? "" : `, resumed from ${more.resumed_from}`
  return printableLine(
    `${name}: ${objective} on ${engine}${precisionText(dtype)} (${device}), ${shortCount(trained)}${share} parameters, ${steps} steps${resumed}`,
  )
}

/** Rows, steps, memory and, where it was measured, time. */
function planLine(event: RunStart): string {
  const { rows, batch_size, supervised_tokens_per_epoch: tokens, steps } = event
  const { planned_memory_bytes: planned, free_memory_bytes: free, planned_seconds: time } = event
  // Prompts have no tokens of their own to train: a step's rows are their samples.
  const isOfPrompts = tokens === 0
  const what = isOfPrompts ? "prompts" : `rows, ${shortCount(tokens)} tokens trained`
  return [
    ...(rows === undefined ? [] : [`${shortCount(rows)} ${what}`]),
    ...(batch_size === undefined
      ? []
      : [`${steps} steps of ${batch_size} ${isOfPrompts ? "samples" : "rows"}`]),
    ...(planned === undefined || free === undefined
      ? []
      : [`memory about ${shortBytes(planned)} of ${shortBytes(free)} free`]),
    ...(time === undefined ? [] : [`time about ${shortDuration(time)}`]),
  ].join("; ")
}

/** Of a run that samples: what its steps' time went into. */
function sharesLine(shares: TimeShares): string {
  const parts = Object.entries(shares).map(([what, share]) => {
    return `${what} ${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`
  })
  return `time of the steps: ${parts.join(", ")}`
}

const SAMPLE_CHARACTERS = 160

/** What was asked, said, and would have been right: a line each. */
function sampleLines(
  { step, prompt, completion, reference }: SampleEvent,
  dim: (text: string) => string,
): string[] {
  const short = (text: string) => {
    const line = printableLine(text.trim())
    return line.length <= SAMPLE_CHARACTERS ? line : `${line.slice(0, SAMPLE_CHARACTERS - 1)}…`
  }
  return [
    `${dim(`sample at step ${step}: … ${short(prompt.slice(-SAMPLE_CHARACTERS))}`)}`,
    `  ${dim("says    ")} ${short(completion)}`,
    ...(reference === undefined ? [] : [`  ${dim("its row ")} ${short(reference)}`]),
  ]
}

/** A run that learns from a teacher may have no reward at all. */
function rewardFields({ rewards, reward, zero_variance_groups: equal }: RolloutEvent) {
  if (Object.keys(rewards).length === 0) return []
  return [
    ["reward", shortNumber(reward)] as const,
    ["equal", `${(100 * equal).toFixed(0)}%`] as const,
  ]
}

function evalLine({ name, step, nll, mean_p, score, n, ci95, ...more }: EvalEvent): string {
  const range = ci95 === undefined ? "" : ` [${shortNumber(ci95[0])}, ${shortNumber(ci95[1])}]`
  const parts = [
    ...(score === undefined ? [] : [`score ${shortNumber(score)}${range}`]),
    ...(n === undefined ? [] : [`n ${n}`]),
    ...passParts(more),
    ...(nll === undefined ? [] : [`nll ${shortNumber(nll, 4)}`]),
    ...(more.nll_gap === undefined ? [] : [gapText(more.nll_gap)]),
    ...(mean_p === undefined ? [] : [`p ${shortNumber(mean_p)}`]),
    ...sourceParts(more),
    ...(more.reward_margin === undefined ? [] : [`margin ${shortNumber(more.reward_margin)}`]),
    ...(more.reward_accuracy === undefined
      ? []
      : [`accuracy ${shortNumber(more.reward_accuracy)}`]),
  ]
  return printableLine(`eval ${name} at step ${step}: ${parts.join(", ")}`)
}

/** Of several answers to a prompt: how often one of k passes. */
function passParts({ pass_at = {} }: Pick<EvalEvent, "pass_at">): string[] {
  return Object.entries(pass_at).map(([k, share]) => `pass@${k} ${shortNumber(share)}`)
}

/** `a.jsonl 0.31` and so on, where an evaluation has rows of several files. */
function sourceParts({ source_nll: sources = {} }: Pick<EvalEvent, "source_nll">): string[] {
  const parts = Object.entries(sources).map(([name, nll]) => `${name} ${shortNumber(nll, 4)}`)
  return parts.length === 0 ? [] : [`(nll of ${parts.join(", ")})`]
}

/** From the pace of the last steps; undefined until there are two. */
function secondsLeft(
  recent: readonly { readonly time: number; readonly step: number }[],
  steps: number,
): number | undefined {
  const newest = recent.at(-1)
  const oldest = recent.at(-1 - RATE_STEPS) ?? recent[0]
  if (newest === undefined || oldest === undefined || newest.step <= oldest.step) return undefined
  const pace = (newest.time - oldest.time) / 1000 / (newest.step - oldest.step)
  return pace * (steps - newest.step)
}

const BARS = "▁▂▃▄▅▆▇█"

/** One character a value, scaled between the least and the greatest; a space where not finite. */
export function sparkline(values: readonly number[]): string {
  const finite = values.filter(Number.isFinite)
  const low = finite.reduce((a, b) => Math.min(a, b), Infinity)
  const high = finite.reduce((a, b) => Math.max(a, b), -Infinity)
  return values
    .map((value) => {
      if (!Number.isFinite(value)) return " "
      const height = high === low ? 0 : (value - low) / (high - low)
      return BARS[Math.min(BARS.length - 1, Math.floor(height * BARS.length))]
    })
    .join("")
}
