import { existsSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import type { Command } from "commander"
import { type Config, loadConfig } from "../config/index.ts"
import { type PreviewExample, type PreviewSummary, previewData } from "../data/preview-rows.ts"
import { InputError } from "../errors.ts"
import { writeFileAtomic } from "../formats/index.ts"
import { isObject } from "../formats/json.ts"
import { readJsonObject } from "../formats/json-files.ts"
import { refuseLinkOut } from "../formats/link-out.ts"
import { checkPage } from "../host/output-place.ts"
import { objectiveFromConfig } from "../objectives/index.ts"
import { type PageSummary, previewPage } from "../report/preview-page.ts"
import { previewRollouts, type RolloutPreview } from "../train/rollouts/preview-rollouts.ts"
import { picturesOf, rowOptions } from "../train/row-options.ts"
import { interruptible } from "./shell/interrupt.ts"
import { setOption } from "./shell/option-values.ts"
import { exampleText, pairText } from "./shell/preview-text.ts"
import { print, printJson, say, sayWarning } from "./shell/terminal.ts"
import { tokenizerFolder } from "./tokenizer-folder.ts"

interface PreviewFlags {
  readonly rows?: number
  readonly eval?: boolean
  readonly json?: boolean
  readonly html?: string
  readonly set?: string[]
}

/** Rows shown to a person. */
const SHOWN_ROWS = 8
/** Rows looked at for lints when not all are printed. */
const SCANNED_ROWS = 2000

export function command(verb: Command): void {
  verb
    .argument("<config>", "YAML, JSON or TypeScript")
    .option("-n, --rows <count>", `examples shown (${SHOWN_ROWS}; with --json all)`, countOf)
    .option("--eval", "the eval rows, not the training rows")
    .option("--json", "one JSON object a line for each example")
    .option("--html <file>", "write one self-contained page")
    .addOption(setOption())
    .action(preview)
}

function countOf(text: string): number {
  const count = Number(text)
  if (Number.isInteger(count) && count >= 1) return count
  throw new InputError(`--rows ${text}: expected a whole number of at least 1`)
}

async function preview(path: string, flags: PreviewFlags): Promise<void> {
  const config = await loadConfig(path, { set: flags.set ?? [] })
  const sources = flags.eval ? config.data.eval : config.data.train
  if (sources.length === 0) throw new InputError(`${path}: data.eval names no rows`)
  if (flags.html !== undefined) {
    checkPage(
      flags.html,
      sources.map((source) => ({ path: source.path, what: "the rows" })),
    )
  }
  const shown: PreviewExample[] = []
  const { rows, json = false, html } = flags
  const printText = printer()
  const looked: Looked = {
    examples: rows ?? (json ? Number.POSITIVE_INFINITY : SHOWN_ROWS),
    show: async (example) => {
      if (json) await printed(example)
      else if (html === undefined) printText(example)
      if (html !== undefined) shown.push(example)
    },
  }
  const found = await interruptible(async (signal) =>
    config.rollout
      ? { rollouts: await previewPrompts(config, flags.eval === true, looked, signal) }
      : { rows: await previewRows(config, sources, looked, signal) },
  )
  if (html !== undefined) {
    const title =
      basename(dirname(path)) === "."
        ? basename(path)
        : `${basename(dirname(path))}/${basename(path)}`
    await writeFileAtomic(html, previewPage(title, shown, summaryOf(found)))
    say(`wrote ${html}`)
  }
  if ("rows" in found) tell(found.rows)
  else tellRollouts(found.rollouts)
}

/** Examples as text; the two sides of a pair wait for each other. */
function printer(): (example: PreviewExample) => void {
  let chosen: PreviewExample | undefined
  return (example) => {
    if (example.side === "chosen") chosen = example
    else print(chosen && example.side ? pairText(chosen, example) : exampleText(example))
  }
}

/** What is shown, and how. */
type Looked = Pick<Parameters<typeof previewData>[0], "examples" | "show">

async function previewPrompts(
  config: Config,
  isEval: boolean,
  looked: Looked,
  signal: AbortSignal,
): Promise<RolloutPreview> {
  const modelFolder = await tokenizerFolder(config, signal)
  return previewRollouts(config, { modelFolder, isEval, ...looked, signal })
}

async function previewRows(
  config: Config,
  sources: Config["data"]["train"],
  looked: Looked,
  signal: AbortSignal,
): Promise<PreviewSummary> {
  const tokenizer = await tokenizerFolder(config, signal)
  const objective = objectiveFromConfig(config.objective)
  return previewData({
    ...rowOptions(config, tokenizer, sources, objective),
    ...(await picturesOf(config, tokenizer, objective)),
    vocabSize: await vocabSizeOf(tokenizer),
    signal,
    scan: SCANNED_ROWS,
    ...looked,
  })
}

/** As the page has it: prompts are rows of which samples are trained. */
function summaryOf(
  found: { readonly rows: PreviewSummary } | { readonly rollouts: RolloutPreview },
): PageSummary {
  if ("rows" in found) return found.rows
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
    `${weighed.length === 0 ? "not rewarded" : `rewarded by ${weighed.join(" + ")}`}; ${layout.steps} update${layout.steps === 1 ? "" : "s"} of ${layout.batch_size} sequences a rollout; trained are the sampled tokens alone`,
  )
  for (const { code, message, hint } of warnings) sayWarning(code, message, hint)
}

/** Of a model's config.json, whatever its family; undefined where it does not say. */
async function vocabSizeOf(folder: string): Promise<number | undefined> {
  const path = join(folder, "config.json")
  if (!existsSync(path)) return undefined
  refuseLinkOut(folder, "config.json")
  const { vocab_size: own, text_config: text } = await readJsonObject(path)
  const size = own ?? (isObject(text) ? text.vocab_size : undefined)
  return typeof size === "number" ? size : undefined
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
