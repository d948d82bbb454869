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

/** Shows events as text through `write`. Keeps at most a screen's width of history. */
export function terminalView(
  write: (text: string) => void,
  { live, color, columns }: TerminalOptions,
): TerminalView {
  const { bold, cyan, dim, green, red, yellow } = picocolors.createColors(color)
  const recent: { nll: number; time: number; step: number }[] = []
  let steps = 0
  let drawn = 0
  let last: StepEvent | undefined
  let rollout: RolloutEvent | undefined
  let shownStep = 0
  let shownAt = Number.POSITIVE_INFINITY
  let watched: string | undefined
  let doing: string | undefined

  const clear = () => {
    if (drawn === 0) return
    write(`\r\x1b[2K${"\x1b[1A\x1b[2K".repeat(drawn - 1)}`)
    drawn = 0
  }
  const draw = () => {
    if (!live || (last === undefined && doing === undefined)) return
    const width = Math.max(20, columns() - 1)
    const lines = [
      ...(last === undefined ? [] : [stepLine(last, width), historyLine(width)]),
      ...(doing === undefined ? [] : [dim(printableLine(doing).slice(0, width))]),
    ]
    write(lines.join("\n"))
    drawn = lines.length
  }
  /** A line that stays. */
  const say = (text: string) => {
    clear()
    write(`${text}\n`)
    draw()
  }

  const stepLine = (event: StepEvent, width: number): string => {
    const left = secondsLeft(recent, steps)
    const fields: readonly (readonly [name: string, value: string])[] = [
      ["step", `${event.step}/${steps}`],
      ...(rollout === undefined
        ? []
        : [
            ...rewardFields(rollout),
            ["length", shortNumber(rollout.completion_length.mean)] as const,
          ]),
      ["loss", shortNumber(event.loss)],
      ["nll", shortNumber(event.nll)],
      ...(event.reward_margin === undefined
        ? [["p", shortNumber(event.mean_p)] as const]
        : [["margin", shortNumber(event.reward_margin)] as const]),
      ...(event.reward_accuracy === undefined
        ? []
        : [["accuracy", shortNumber(event.reward_accuracy)] as const]),
      ...(left === undefined ? [] : [["left", shortDuration(left)] as const]),
      ["tok/s", shortCount(event.tokens_per_second)],
      ["mem", shortBytes(event.memory_bytes)],
      ...(event.eos_p === null ? [] : [["eos p", shortNumber(event.eos_p)] as const]),
      ["grad", shortNumber(event.grad_norm)],
      ["lr", shortNumber(event.learning_rate)],
    ]
    // Those at the end are the ones to miss on a narrow terminal.
    let used = 0
    const shown = fields.filter(([name, value]) => {
      used += name.length + value.length + (used === 0 ? 1 : 4)
      return used <= width
    })
    return shown.map(([name, value]) => `${dim(name)} ${bold(value)}`).join(dim(" · "))
  }
  const historyLine = (width: number): string => {
    const values = recent.map(({ nll }) => nll).slice(-(width - 4))
    return `${dim("nll")} ${cyan(sparkline(values))}`
  }

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
      const every = Math.max(1, Math.ceil(steps / QUIET_LINES))
      const time = Date.parse(event.time)
      const isNext = event.step === 1 || event.step === steps || event.step >= shownStep + every
      if (!live && (isNext || time - shownAt >= QUIET_MS)) {
        shownStep = event.step - (event.step % every)
        shownAt = time
        write(`${stepLine(event, 200)}\n`)
      }
      draw()
    },
    rollout: (event: RolloutEvent) => {
      rollout = event
    },
    eval: (event: EvalEvent) => say(evalLine(event)),
    warning: (event: Extract<RunEvent, { type: "warning" }>) => {
      const hint = event.hint === "" ? "" : `\n  ${printableLine(event.hint)}`
      say(
        `${yellow("warning")} ${printableLine(event.message)} ${dim(`[${printableLine(event.code)}]`)}${hint}`,
      )
    },
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
    if (drawn > 0) write("\n")
    drawn = 0
    last = undefined
  }
  return { show: (event) => showers[event.type](event as never), status, clear, draw, close }
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
