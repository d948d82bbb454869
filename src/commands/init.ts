import { existsSync, readFileSync } from "node:fs"
import { isAbsolute, join, relative, resolve } from "node:path"
import { createInterface } from "node:readline/promises"
import type { Command } from "commander"
import { parse as parseYaml } from "yaml"
import { closestName } from "../closest-name.ts"
import { OBJECTIVES, parseConfig } from "../config/index.ts"
import { isGlob } from "../data/glob.ts"
import { InputError } from "../errors.ts"
import { replaceFileNow } from "../formats/atomic.ts"
import { commandLine } from "../host/invocation.ts"
import { checkOutputFile, checkOutputFolder } from "../host/output-place.ts"
import { isHubId } from "../hub/names.ts"
import { objectiveFromConfig } from "../objectives/index.ts"
import { importConfig, noteText } from "../peers/import-config.ts"
import { keepsSpecialTokens } from "../train/abandoned-tokens.ts"
import { probe } from "../train/probe.ts"
import {
  type ModelFacts,
  modelFacts,
  type Proposal,
  proposal,
  type RowFacts,
  rowFacts,
} from "../train/proposal.ts"
import { configText } from "./shell/config-text.ts"
import { interruptible } from "./shell/interrupt.ts"
import { print, printJson, progressLine, say } from "./shell/terminal.ts"

/** What only the user knows. */
interface Answers {
  readonly model: string
  readonly train: string
  readonly objective: string
  /** undefined: memory decides. */
  readonly lora?: boolean
}

const DEFAULT_ANSWERS: Answers = {
  model: "Qwen/Qwen2.5-0.5B",
  train: "train.jsonl",
  objective: "dft",
}

interface InitOptions extends Partial<Answers> {
  readonly from?: string
  readonly yes?: boolean
  readonly force?: boolean
  readonly json?: boolean
}

/** What was found of the answers; what could not be looked at is undefined, and said. */
interface Facts {
  readonly model: ModelFacts | undefined
  readonly rows: RowFacts | undefined
}

export function command(verb: Command): void {
  verb
    .argument("[dir]", "where dftune.yaml is written", ".")
    .option("-y, --yes", "ask nothing: look at the model and the rows, and choose")
    .option("--model <model>", "folder or hub id")
    .option("--train <path>", "training rows")
    .option("--objective <name>", "what is minimised")
    .option("--lora", "train an adapter, not the whole model")
    .option("--no-lora", "train the whole model, whatever it takes")
    .option(
      "--from <file>",
      "translate another trainer's config (YAML, JSON, Python or a command line)",
    )
    .option("--force", "replace a dftune.yaml that is there")
    .option("--json", "ask nothing, and print one JSON document: the file, and what it says")
    .action(async (dir: string, options: InitOptions) => {
      const { from, yes = false, force = false, json = false, ...given } = options
      const path = join(dir, "dftune.yaml")
      if (existsSync(path) && !force) {
        throw new InputError(`${path}: is there already; --force replaces it`)
      }
      checkPlace(dir, path, from)
      if (from !== undefined) {
        writeImported(from, path, given, json)
        return
      }
      await interruptible(async (signal) => {
        const asks = process.stdin.isTTY === true && process.stderr.isTTY === true && !yes && !json
        const { answers, facts } = await settled(given, asks, signal)
        const chosen = proposal({ ...facts, objective: answers.objective, lora: answers.lora })
        const keepSpecial = await specialTokens(answers, facts, chosen, signal)
        const text = configText({
          model: beside(dir, answers.model),
          train: beside(dir, answers.train),
          objective: answers.objective,
          keepSpecial,
          proposal: chosen,
          facts,
        })
        replaceFileNow(path, text)
        for (const line of text.split("\n")) say(`  ${line}`)
        if (json) printJson({ file: path, config: parseYaml(text) })
        else print(path)
        say(`next: ${commandLine("preview", path)}, then ${commandLine("train", path)}`)
      })
    })
}

/** `--force` may replace any file of that name, but not the one that `--from` reads. */
function checkPlace(dir: string, path: string, from: string | undefined): void {
  checkOutputFolder(dir, { option: "init" })
  const reads = from === undefined ? [] : [{ path: from, what: "the settings" }]
  checkOutputFile(path, { option: "init", reads, wrote: () => true, writer: "dftune init" })
}

function writeImported(file: string, path: string, given: Partial<Answers>, json: boolean): void {
  if (Object.keys(given).length > 0) {
    const options = Object.keys(given).map((key) => `--${key}`)
    throw new InputError(
      `--from takes everything from ${file}; leave out ${options.join(", ")} and edit the dftune.yaml it writes`,
    )
  }
  if (!existsSync(file)) throw new InputError(`${file}: no such file`)
  const { peer, yaml, notes } = importConfig(readFileSync(file, "utf8"), { file })
  replaceFileNow(path, yaml)
  if (json) printJson({ file: path, config: parseYaml(yaml), peer, notes: notes.map(noteText) })
  else print(path)
  say(`imported from ${file} (${peer})`)
  if (notes.length > 0) say("did not carry over, or changed on the way:")
  for (const note of notes) say(`  ${noteText(note)}`)
}

/** The answers, each looked at while the others can still be given again. */
async function settled(
  given: Partial<Answers>,
  asks: boolean,
  signal: AbortSignal,
): Promise<{ answers: Answers; facts: Facts }> {
  const objective = given.objective ?? DEFAULT_ANSWERS.objective
  checkObjective(objective)
  const lines = asks ? createInterface({ input: process.stdin, output: process.stderr }) : undefined
  const answer = async <T>(
    key: "model" | "train" | "objective",
    question: string,
    look: (text: string, explicit: boolean) => Promise<T> | T,
  ): Promise<{ text: string; found: T }> => {
    const fallback = DEFAULT_ANSWERS[key]
    const known = given[key]
    if (lines === undefined || known !== undefined) {
      const text = known ?? fallback
      return { text, found: await look(text, known !== undefined) }
    }
    for (;;) {
      const text = (await lines.question(`${question} [${fallback}] `, { signal })).trim()
      try {
        return { text: text || fallback, found: await look(text || fallback, text !== "") }
      } catch (error) {
        if (!(error instanceof InputError)) throw error
        say(`  ${error.message}`)
      }
    }
  }
  try {
    const model = await answer("model", "Model (folder or hub id)?", (name) =>
      lookedAtModel(name, signal),
    )
    const rows = await answer("train", "Training rows (path, glob or hub data set)?", (path, own) =>
      lookedAtRows(path, model.found, own, signal),
    )
    const names = OBJECTIVES.slice(0, 6).join(", ")
    const named = await answer("objective", `Objective (${names}, ...)?`, checkObjective)
    const answers = { model: model.text, train: rows.text, objective: named.text }
    const lora = given.lora === undefined ? {} : { lora: given.lora }
    return { answers: { ...answers, ...lora }, facts: { model: model.found, rows: rows.found } }
  } finally {
    lines?.close()
  }
}

function checkObjective(name: string): void {
  if (OBJECTIVES.includes(name)) return
  const near = closestName(name, OBJECTIVES)
  throw new InputError(
    `objective: expected one of ${OBJECTIVES.join(", ")}, got "${name}"${near === undefined ? "" : `; did you mean "${near}"?`}`,
  )
}

/** undefined for a hub id that cannot be reached from here: its settings are then chosen blindly. */
async function lookedAtModel(name: string, signal: AbortSignal): Promise<ModelFacts | undefined> {
  try {
    return await modelFacts(name, { signal })
  } catch (error) {
    if (!(error instanceof InputError) || !isHubId(name) || existsSync(name)) throw error
    if (!/cannot reach|not in the cache|HF_HUB_OFFLINE/.test(error.message)) throw error
    if (!name.includes("/")) throw error
    say(`could not look at ${name}: ${error.message}`)
    return undefined
  }
}

/** A name that is meant for a file, whatever else it could be. */
const ROW_FILE = /\.(jsonl?|csv|tsv|parquet|arrow)(\.(gz|zst))?$/i

async function lookedAtRows(
  path: string,
  model: ModelFacts | undefined,
  explicit: boolean,
  signal: AbortSignal,
): Promise<RowFacts | undefined> {
  const local = existsSync(path) || isGlob(path)
  if (!local && (ROW_FILE.test(path) || !isHubId(path))) {
    const missing = `${path}: no such file`
    if (explicit) throw new InputError(missing)
    say(`${missing} yet; put your rows there, or give --train`)
    return undefined
  }
  if (!local || model === undefined) return undefined
  const line = progressLine()
  line.show("looking at the rows")
  try {
    const found = await rowFacts(path, model, { signal })
    for (const { message, hint } of found.lints) say(`${message}; ${hint}`)
    return found
  } finally {
    line.clear()
  }
}

/** Below this the model hardly expects its end of turn, and weights near p would not teach it. */
const UNLIKELY = 0.1
/** Weights above this take too long to be opened for a question. */
const MEASURED_PARAMETERS = 7e8

/** Why end-of-turn tokens should keep their full weight, where they should. */
async function specialTokens(
  { model, train, objective }: Answers,
  { model: found, rows }: Facts,
  { maxLength }: Proposal,
  signal: AbortSignal,
): Promise<string | undefined> {
  if (keepsSpecialTokens(objectiveFromConfig(objective))) return undefined
  const measured =
    found !== undefined &&
    rows !== undefined &&
    existsSync(model) &&
    found.parameters <= MEASURED_PARAMETERS
  if (!measured) return "so that it learns where to stop; not measured"
  const line = progressLine()
  line.show("asking the model how it expects the rows to end")
  try {
    const data = { train: [{ path: train, max_rows: 64 }], max_length: maxLength.value }
    const config = parseConfig({ model: resolve(model), data, objective })
    const { sources } = await probe(config, { timed: false, rows: 12, signal })
    const ends = sources[0]?.classes["end of turn"]
    if (ends === undefined || ends.count === 0 || ends.mean_p >= UNLIKELY) return undefined
    return `the model gives its end of turn p ${ends.mean_p.toPrecision(1)}, too little for weights near p`
  } finally {
    line.clear()
  }
}

/** A local path as it reads from the config's folder; other names as they are. */
function beside(dir: string, name: string): string {
  if (isAbsolute(name) || (!existsSync(name) && !isGlob(name))) return name
  const path = relative(resolve(dir), resolve(name))
  return path.startsWith(".") ? path : `./${path}`.replace(/^\.\/(?=[^/]+$)/, "")
}
