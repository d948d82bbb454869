import { existsSync } from "node:fs"
import { basename, dirname, join } from "node:path"
import type { Command } from "commander"
import { type Config, loadConfig } from "../config/index.ts"
import { refuseSampled } from "../config/rollout-checks.ts"
import { type PreviewExample, type PreviewSummary, previewData } from "../data/preview-rows.ts"
import { PURPOSE_OF } from "../data/purpose.ts"
import { InputError } from "../errors.ts"
import { writeFileAtomic } from "../formats/index.ts"
import { isObject } from "../formats/json.ts"
import { readJsonObject } from "../formats/json-files.ts"
import { refuseLinkOut } from "../formats/link-out.ts"
import { checkPage } from "../host/output-place.ts"
import { objectiveFromConfig } from "../objectives/index.ts"
import { previewPage } from "../report/preview-page.ts"
import { interruptible } from "./shell/interrupt.ts"
import { setOption } from "./shell/option-values.ts"
import { colorsFor, print, printJson, say, sayWarning } from "./shell/terminal.ts"
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
  refuseSampled(config, "preview")
  const sources = flags.eval ? config.data.eval : config.data.train
  if (sources.length === 0) throw new InputError(`${path}: data.eval names no rows`)
  if (flags.html !== undefined) {
    checkPage(
      flags.html,
      sources.map((source) => ({ path: source.path, what: "the rows" })),
    )
  }
  const shown: PreviewExample[] = []
  const summary = await interruptible((signal) => run(config, sources, flags, shown, signal))
  if (flags.html !== undefined) {
    const title =
      basename(dirname(path)) === "."
        ? basename(path)
        : `${basename(dirname(path))}/${basename(path)}`
    await writeFileAtomic(flags.html, previewPage(title, shown, summary))
    say(`wrote ${flags.html}`)
  }
  tell(summary)
}

async function run(
  config: Config,
  sources: Config["data"]["train"],
  { rows, json = false, html }: PreviewFlags,
  shown: PreviewExample[],
  signal: AbortSignal,
): Promise<PreviewSummary> {
  const { data } = config
  const { trainsOn } = objectiveFromConfig(config.objective)
  const tokenizer = await tokenizerFolder(config, signal)
  return previewData({
    sources,
    tokenizer,
    vocabSize: await vocabSizeOf(tokenizer),
    format: data.format,
    purpose: trainsOn === "rollouts" ? "supervised" : PURPOSE_OF[trainsOn],
    maxLength: data.max_length,
    supervise: data.supervise,
    template: data.template,
    columns: data.columns,
    implicitPrompt: data.implicit_prompt,
    onLongPair: data.on_long_pair,
    onBadRow: data.on_bad_row,
    signal,
    examples: rows ?? (json ? Number.POSITIVE_INFINITY : SHOWN_ROWS),
    scan: SCANNED_ROWS,
    show: async (example) => {
      if (json) await printed(example)
      else if (html === undefined) print(coloured(example))
      if (html !== undefined) shown.push(example)
    },
  })
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

/** An example for the terminal: colours, or without them `[[` and `]]` around what is trained. */
function coloured(example: PreviewExample): string {
  const { source, side, token_ids, loss_mask, warnings } = example
  const { bold, dim, isColorSupported, yellow } = colorsFor(process.stdout)
  const trained = loss_mask.reduce((sum, mask) => sum + mask, 0)
  const title = `${bold(source)}${side === undefined ? "" : ` ${side}`} ${dim(`${token_ids.length} tokens, ${trained} trained`)}`
  const warned = warnings.length === 0 ? "" : ` ${yellow(warnings.join(", "))}`
  const text = runs(example)
    .map((run) =>
      isColorSupported ? colouredRun(run) : run.trained ? `[[${run.text}]]` : run.text,
    )
    .join("")
  return `${title}${warned}\n${text}\n`
}

interface TokenRun {
  readonly trained: boolean
  readonly tokenClass: number
  readonly text: string
}

/** Neighbouring tokens of one kind, as one text. Without colour only the mask tells runs apart. */
function runs({ tokens, loss_mask, token_class }: PreviewExample): TokenRun[] {
  const { isColorSupported } = colorsFor(process.stdout)
  const found: { trained: boolean; tokenClass: number; text: string }[] = []
  for (const [t, text] of tokens.entries()) {
    const trained = loss_mask[t] === 1
    const last = found.at(-1)
    const same =
      last?.trained === trained && (!isColorSupported || last.tokenClass === token_class[t])
    if (last !== undefined && same) last.text += text
    else found.push({ trained, tokenClass: token_class[t]!, text })
  }
  return found.map((run) => ({ ...run, text: wholeCharacters(run.text) }))
}

/** A character that several tokens share was written byte by byte; here it is one again. */
function wholeCharacters(text: string): string {
  return text.replaceAll(/(?:<0x[0-9A-F]{2}>)+/g, (bytes) => {
    const values = bytes.match(/[0-9A-F]{2}(?=>)/g)!.map((byte) => Number.parseInt(byte, 16))
    const character = new TextDecoder().decode(Uint8Array.from(values))
    return character.includes("\uFFFD") ? bytes : character
  })
}

function colouredRun({ trained, tokenClass, text }: TokenRun): string {
  const { dim, green, magenta, underline } = colorsFor(process.stdout)
  const paint = !trained ? dim : tokenClass === 1 ? (run: string) => underline(magenta(run)) : green
  // a colour is set again on each line: pagers forget it at the line's end
  return text
    .split("\n")
    .map((line) => (line === "" ? "" : paint(line)))
    .join("\n")
}
