import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline/promises"
import type { Command } from "commander"
import { closestName } from "../closest-name.ts"
import { configJsonSchema, OBJECTIVES } from "../config/index.ts"
import { InputError } from "../errors.ts"
import { importConfig, noteText } from "../peers/import-config.ts"
import { print, say } from "./shell/terminal.ts"

/** What the new config says; everything else is there as a comment with its default. */
export interface Answers {
  readonly model: string
  readonly train: string
  readonly objective: string
  readonly lora: boolean
}

const DEFAULT_ANSWERS: Answers = {
  model: "Qwen/Qwen2.5-0.5B",
  train: "train.jsonl",
  objective: "dft",
  lora: false,
}

interface InitOptions extends Partial<Answers> {
  readonly from?: string
  readonly yes?: boolean
  readonly force?: boolean
}

export function command(verb: Command): void {
  verb
    .argument("[dir]", "where dftune.yaml is written", ".")
    .option("-y, --yes", "ask nothing, take the defaults")
    .option("--model <model>", "folder or hub id")
    .option("--train <path>", "training rows")
    .option("--objective <name>", "what is minimised")
    .option("--lora", "train an adapter, not the whole model")
    .option(
      "--from <file>",
      "translate a config of TRL, LLaMA-Factory, axolotl, ms-swift or verl (YAML, JSON, Python or a command line)",
    )
    .option("--force", "replace a dftune.yaml that is there")
    .action(async (dir: string, { from, yes = false, force = false, ...given }: InitOptions) => {
      const path = join(dir, "dftune.yaml")
      if (existsSync(path) && !force) {
        throw new InputError(`${path}: is there already; --force replaces it`)
      }
      if (from !== undefined) {
        if (Object.keys(given).length > 0) {
          throw new InputError(
            `--from takes everything from ${from}; leave out ${Object.keys(given)
              .map((key) => `--${key}`)
              .join(", ")} and edit the dftune.yaml it writes`,
          )
        }
        writeImported(from, dir, path)
        return
      }
      const asks = process.stdin.isTTY && process.stderr.isTTY && !yes
      const known = { ...DEFAULT_ANSWERS, ...given }
      const answers = asks ? await askAnswers(known, given) : known
      checkObjective(answers.objective)
      mkdirSync(dir, { recursive: true })
      writeFileSync(path, configText(answers))
      print(path)
      say(`next: dftune preview ${path}, then dftune train ${path}`)
    })
}

function writeImported(file: string, dir: string, path: string): void {
  if (!existsSync(file)) throw new InputError(`${file}: no such file`)
  const { peer, yaml, notes } = importConfig(readFileSync(file, "utf8"), { file })
  mkdirSync(dir, { recursive: true })
  writeFileSync(path, yaml)
  print(path)
  say(`imported from ${file} (${peer})`)
  if (notes.length > 0) say("did not carry over, or changed on the way:")
  for (const note of notes) say(`  ${noteText(note)}`)
}

function checkObjective(name: string): void {
  if (OBJECTIVES.includes(name)) return
  const near = closestName(name, OBJECTIVES)
  throw new InputError(
    `objective: expected one of ${OBJECTIVES.join(", ")}, got "${name}"${near === undefined ? "" : `; did you mean "${near}"?`}`,
  )
}

async function askAnswers(defaults: Answers, given: Partial<Answers>): Promise<Answers> {
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  const ask = async (key: keyof Answers, question: string): Promise<string> => {
    if (given[key] !== undefined) return String(given[key])
    const shown = key === "lora" ? (defaults.lora ? "y" : "n") : String(defaults[key])
    return (await lines.question(`${question} [${shown}] `)).trim() || shown
  }
  try {
    return {
      model: await ask("model", "Model (folder or hub id)?"),
      train: await ask("train", "Training rows (path, glob or hub data set)?"),
      objective: await ask("objective", `Objective (${OBJECTIVES.slice(0, 6).join(", ")}, ...)?`),
      lora: /^(y|yes|true)$/i.test(await ask("lora", "Train an adapter (LoRA) only, y or n?")),
    }
  } finally {
    lines.close()
  }
}

interface Property {
  readonly description?: string
  readonly default?: unknown
  readonly properties?: Readonly<Record<string, Property>>
  readonly anyOf?: readonly Property[]
}

/** Plain YAML for a value of the config. */
const yamlValue = (value: unknown): string => JSON.stringify(value)

/** Text that YAML reads back as the same text: quoted unless it is plainly a name or path. */
const yamlText = (text: string): string =>
  /^[A-Za-z_./][\w./*-]*$/.test(text) && !/^(true|false|null|yes|no|on|off|~)$/i.test(text)
    ? text
    : JSON.stringify(text)

/**
 * A config with a comment on every key, from the schema's own descriptions and defaults. Keys that
 * the answers do not set are commented out at their default.
 */
export function configText({ model, train, objective, lora }: Answers): string {
  const schema = configJsonSchema() as Property
  const { properties = {} } = schema
  const set: Readonly<Record<string, string>> = {
    model: yamlText(model),
    objective: yamlText(objective),
    ...(lora ? { adapter: "{ type: lora, r: 8, lora_alpha: 16 }" } : {}),
  }
  const lines = [
    "# A dftune config. Every key is described by `dftune config schema`; keys commented out are at their default.",
    "",
  ]
  for (const [key, property] of Object.entries(properties)) {
    lines.push(...comment(property, ""))
    if (key === "data") {
      lines.push("data:", ...dataLines(property.properties ?? {}, train))
    } else if (set[key] !== undefined) {
      lines.push(`${key}: ${set[key]}`)
    } else {
      lines.push(
        `# ${key}:${property.default === undefined ? "" : ` ${yamlValue(property.default)}`}`,
      )
    }
    lines.push("")
  }
  return lines.join("\n")
}

function dataLines(properties: Readonly<Record<string, Property>>, train: string): string[] {
  return Object.entries(properties).flatMap(([key, property]) => [
    ...comment(property, "  "),
    key === "train"
      ? `  train: [{ path: ${yamlText(train)} }]`
      : `  # ${key}: ${yamlValue(property.default)}`,
  ])
}

function comment({ description = "" }: Property, indent: string): string[] {
  return wrapped(description, 96 - indent.length).map((line) => `${indent}# ${line}`)
}

function wrapped(text: string, width: number): string[] {
  const lines = [""]
  for (const word of text.split(" ")) {
    const line = lines.at(-1)!
    if (line !== "" && line.length + 1 + word.length > width) lines.push(word)
    else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`
  }
  return lines
}
