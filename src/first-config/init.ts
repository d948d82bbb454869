/** `dftune init`: a config that fits a model and rows, or one translated from another trainer's. */
import { existsSync } from "node:fs"
import { dirname, isAbsolute, join, relative, resolve } from "node:path"
import { parse as parseYaml } from "yaml"
import { isGlob } from "../data/glob.ts"
import { InputError } from "../errors.ts"
import { replaceFileNow } from "../formats/atomic.ts"
import { utf8 } from "../formats/json.ts"
import { plainBytes } from "../formats/plain-file.ts"
import { checkOutputFile, checkOutputFolder } from "../host/output-place.ts"
import { importConfig, noteText } from "../peers/import-config.ts"
import { proposal } from "../train/proposal.ts"
import { type GivenAnswers, type Look, settledAnswers } from "./answers.ts"
import { configText } from "./config-text.ts"
import { specialTokens } from "./special-tokens.ts"

export interface InitOptions extends GivenAnswers, Look {
  /** Where dftune.yaml is written; the working directory if left out. */
  readonly dir?: string | undefined
  /** Another trainer's config to translate, in place of the answers. */
  readonly from?: string | undefined
  /** Replace a dftune.yaml that is there. */
  readonly force?: boolean | undefined
}

export interface WrittenConfig {
  readonly file: string
  /** What the file says, unchecked. */
  readonly config: unknown
  /** The file. */
  readonly text: string
  /** Of a translation: whose config it was. */
  readonly peer?: string
  /** Of a translation: what did not carry over, or was changed on the way. */
  readonly notes?: readonly string[]
}

/**
 * Looks at the model and the rows and writes a dftune.yaml with settings that fit them.
 *
 * @throws InputError for a model or rows that cannot be trained, a translation's source that cannot
 * be read, and a dftune.yaml that is there
 */
export async function init(options: InitOptions = {}): Promise<WrittenConfig> {
  const { dir = ".", from, force = false } = options
  const file = join(dir, "dftune.yaml")
  if (existsSync(file) && !force) {
    throw new InputError(`${file}: is there already; --force replaces it`)
  }
  checkPlace(dir, file, from)
  return from === undefined ? chosen(dir, file, options) : imported(from, file, options)
}

async function chosen(dir: string, file: string, options: InitOptions): Promise<WrittenConfig> {
  const { answers, facts } = await settledAnswers(options, options)
  const proposed = proposal({ ...facts, objective: answers.objective, lora: answers.lora })
  const keepSpecial = await specialTokens(answers, facts, proposed, options)
  const text = configText({
    model: beside(dir, answers.model),
    train: beside(dir, answers.train),
    columns: answers.columns,
    objective: answers.objective,
    keepSpecial,
    proposal: proposed,
    facts,
  })
  replaceFileNow(file, text)
  return { file, config: parseYaml(text), text }
}

/** `force` may replace any file of that name, but not the one that `from` reads. */
function checkPlace(dir: string, path: string, from: string | undefined): void {
  checkOutputFolder(dir, { option: "init" })
  const reads = from === undefined ? [] : [{ path: from, what: "the settings" }]
  checkOutputFile(path, { option: "init", reads, wrote: () => true, writer: "dftune init" })
}

const ANSWERS = ["model", "train", "columns", "objective", "lora"] as const

function imported(from: string, file: string, given: InitOptions): WrittenConfig {
  const options = ANSWERS.filter((key) => given[key] !== undefined).map((key) => `--${key}`)
  if (options.length > 0) {
    throw new InputError(
      `--from takes everything from ${from}; leave out ${options.join(", ")} and edit the dftune.yaml it writes`,
    )
  }
  if (!existsSync(from)) throw new InputError(`${from}: no such file`)
  const pathOf = (path: string) => found(path, [".", dirname(from)], dirname(file))
  const { peer, yaml, notes } = importConfig(utf8(plainBytes(from), from), { file: from, pathOf })
  replaceFileNow(file, yaml)
  return { file, config: parseYaml(yaml), text: yaml, peer, notes: notes.map(noteText) }
}

/**
 * A path of a script as it reads from `dir`: of what is there, in the folders it may be meant from.
 */
function found(path: string, folders: readonly string[], dir: string): string {
  const there = folders.map((folder) => join(folder, path)).find((each) => existsSync(each))
  return there === undefined || isAbsolute(path) ? path : beside(dir, there)
}

/** A local path as it reads from the config's folder; other names as they are. */
function beside(dir: string, name: string): string {
  if (isAbsolute(name) || (!existsSync(name) && !isGlob(name))) return name
  const path = relative(resolve(dir), resolve(name))
  return path.startsWith(".") ? path : `./${path}`.replace(/^\.\/(?=[^/]+$)/, "")
}
