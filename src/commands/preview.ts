import { basename, dirname } from "node:path"
import type { Command } from "commander"
import { loadConfig } from "../config/index.ts"
import type { PreviewExample, PreviewSummary } from "../data/preview-rows.ts"
import { InputError } from "../errors.ts"
import { writeFileAtomic } from "../formats/index.ts"
import { checkPage } from "../host/output-place.ts"
import { plural } from "../plural.ts"
import { type PageSummary, previewPage } from "../report/preview-page.ts"
import { type Preview, preview, SHOWN_ROWS } from "../train/preview.ts"
import type { RolloutPreview } from "../train/rollouts/preview-rollouts.ts"
import { interruptible } from "./shell/interrupt.ts"
import { setOption } from "./shell/option-values.ts"
import { exampleText, pairText } from "./shell/preview-text.ts"
import { sameConfig } from "./shell/road.ts"
import { print, printJson, say, sayWarning } from "./shell/terminal.ts"

interface PreviewFlags {
  readonly rows?: number
  readonly eval?: boolean
  readonly json?: boolean
  readonly html?: string
  readonly set?: string[]
}

export function command(verb: Command): void {
  verb
    .argument("<config>", "YAML, JSON or TypeScript")
    .option("-n, --rows <count>", `examples shown (${SHOWN_ROWS}; with --json all)`, countOf)
    .option("--eval", "the eval rows, not the training rows")
    .option("--json", "one JSON object a line for each example")
    .option("--html <file>", "write one self-contained page")
    .addOption(setOption())
    .action(show)
}

function countOf(text: string): number {
  const count = Number(text)
  if (Number.isInteger(count) && count >= 1) return count
  throw new InputError(`--rows ${text}: expected a whole number of at least 1`)
}

async function show(path: string, flags: PreviewFlags): Promise<void> {
  const config = await loadConfig(path, { set: flags.set ?? [] })
  const { rows, json = false, html, eval: isEval = false } = flags
  if (html !== undefined) {
    const sources = isEval ? config.data.eval : config.data.train
    checkPage(
      html,
      sources.map((source) => ({ path: source.path, what: "the rows" })),
    )
  }
  const printText = printer()
  const found = await interruptible((signal) =>
    preview(config, {
      rows: rows ?? (json ? Number.POSITIVE_INFINITY : SHOWN_ROWS),
      isEval,
      signal,
      ...(html === undefined ? { onExample: json ? printed : printText } : {}),
    }),
  )
  if (html !== undefined) {
    const folder = basename(dirname(path))
    const title = folder === "." ? basename(path) : `${folder}/${basename(path)}`
    if (json) for (const example of found.examples) await printed(example)
    await writeFileAtomic(html, previewPage(title, found.examples, summaryOf(found)))
    say(`wrote ${html}`)
  }
  if (found.rows) tell(found.rows)
  else tellRollouts(found.rollouts)
  if (json) return
  const [probe, train] = ["probe", "train"].map((verb) => sameConfig(verb, path, flags.set))
  say(`next: ${probe}, then ${train}`)
}

/** Examples as text; the two sides of a pair wait for each other. */
function printer(): (example: PreviewExample) => void {
  let chosen: PreviewExample | undefined
  return (example) => {
    if (example.side === "chosen") chosen = example
    else print(chosen && example.side ? pairText(chosen, example) : exampleText(example))
  }
}

/** As the page has it: prompts are rows of which samples are trained. */
function summaryOf(found: Preview): PageSummary {
  if (found.rows) return found.rows
  const { prompts, tokens, warnings } = found.rollouts
  return {
    rows: prompts,
    complete: true,
    tokens: Math.round(tokens.mean * prompts),
    supervisedTokens: 0,
    lints: warnings.map((warning) => {
      return { ...warning, severity: "warning" as const, count: 1, examples: [] }
    }),
  }
}

function tellRollouts({ prompts, tokens, layout, warnings }: RolloutPreview): void {
  const { num_generations: n, stops, rewards, demonstrations, prefixed } = layout
  const ends = stops.map((stop) => JSON.stringify(stop)).join(", ")
  const beside = demonstrations > 0 ? ", and one more each: its row's demonstration" : ""
  const begun = prefixed > 0 ? `, ${prefixed} of them begun by its row's demonstration` : ""
  say(
    `all ${prompts.toLocaleString("en-US")} prompts: ${tokens.min} to ${tokens.max} tokens, ${tokens.mean.toFixed(1)} on average`,
  )
  say(
    `a rollout: ${layout.prompts} prompts x ${n} samples${begun} = ${layout.sequences} sequences of at most ${layout.max_new_tokens} new tokens at temperature ${layout.temperature}, ended by ${ends}${beside}`,
  )
  const weighed = rewards.map(([label, weight]) => (weight === 1 ? label : `${weight} x ${label}`))
  say(
    `${weighed.length === 0 ? "not rewarded" : `rewarded by ${weighed.join(" + ")}`}; ${layout.steps} ${plural(layout.steps, "update")} of ${layout.batch_size} sequences a rollout; trained are the sampled tokens alone`,
  )
  for (const { code, message, hint } of warnings) sayWarning(code, message, hint)
}

/** Waits while the reader of a pipe is behind, so that rows do not pile up in memory. */
async function printed(example: PreviewExample): Promise<void> {
  printJson(example)
  if (process.stdout.writableNeedDrain) {
    await new Promise<void>((done) => process.stdout.once("drain", done))
  }
}

function tell({ rows, complete, tokens, supervisedTokens, lints }: PreviewSummary): void {
  const share = ((100 * supervisedTokens) / Math.max(1, tokens)).toFixed(1)
  const which = complete ? "all" : "the first"
  say(
    `${which} ${rows.toLocaleString("en-US")} rows: ${tokens.toLocaleString("en-US")} tokens, ${supervisedTokens.toLocaleString("en-US")} trained (${share} %)`,
  )
  for (const { code, severity, message, hint, examples } of lints) {
    sayWarning(
      code,
      message,
      examples.length === 0 ? hint : `${hint}\n  e.g. ${examples.slice(0, 3).join(", ")}`,
      severity,
    )
  }
  if (lints.some(({ severity }) => severity === "error")) {
    throw new InputError("a run would not start; see above")
  }
}
