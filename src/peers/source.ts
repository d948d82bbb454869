/** Reads another trainer's settings as plain keys and values: YAML, JSON, Python keyword arguments, or a command line. Nothing is run. */
import { parse as parseYaml, YAMLParseError } from "yaml"
import { InputError } from "../errors.ts"

export interface Source {
  readonly settings: Readonly<Record<string, unknown>>
  /** Program or classes that the settings were given to, e.g. `swift`, `SFTConfig`: helps to tell peers apart. */
  readonly names: readonly string[]
  /** Processes it was started with, where the command line says. */
  readonly devices?: number
  /** Keys whose values are expressions, which only running the program could tell. */
  readonly expressions: Readonly<Record<string, string>>
}

const MAX_BYTES = 1 << 20

/** Classes whose keyword arguments are settings. */
const CLASSES = [
  "SFTConfig",
  "TrainingArguments",
  "DPOConfig",
  "ModelConfig",
  "ScriptArguments",
  "LoraConfig",
]

export function readSource(text: string, file: string): Source {
  if (text.length > MAX_BYTES) {
    throw new InputError(`${file}: expected a config of at most 1 MB, got ${text.length} bytes`)
  }
  if (/\.py$/i.test(file) || /\b(SFTConfig|TrainingArguments|DPOConfig)\s*\(/.test(text)) {
    return pythonSource(text, file)
  }
  if (
    /\.(sh|bash|txt)$/i.test(file) ||
    /^\s*(#!|(torchrun|swift|trl|accelerate|llamafactory-cli|axolotl|python3?)\s)/m.test(text)
  ) {
    return commandSource(text, file)
  }
  return { settings: yamlRecord(text, file), names: [], expressions: {} }
}

function yamlRecord(text: string, file: string): Record<string, unknown> {
  let value: unknown
  try {
    value = parseYaml(text, { maxAliasCount: 100 })
  } catch (error) {
    // The parser throws a ReferenceError for aliases: unknown ones, or too many to be honest.
    if (!(error instanceof YAMLParseError || error instanceof ReferenceError)) throw error
    throw new InputError(`${file}: not YAML or JSON: ${error.message}`)
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return value as Record<string, unknown>
  }
  throw new InputError(
    `${file}: expected keys and values, got ${value === null ? "nothing" : typeof value}`,
  )
}

/** `program sub --key value --key=value --flag key.path=value`, with quotes, comments and line continuations. */
function commandSource(text: string, file: string): Source {
  const settings: Record<string, unknown> = {}
  const names: string[] = []
  const words = shellWords(text)
  words.forEach((word, index) => {
    const option = /^--([\w.-]+)(?:=([\s\S]*))?$/.exec(word)
    const override = /^\+?([A-Za-z_]\w*(?:\.\w+)+)=([\s\S]*)$/.exec(word)
    if (option !== null) {
      const [, name, inline] = option
      const values: string[] = inline === undefined ? [] : [inline]
      for (let k = index + 1; inline === undefined && k < words.length; k++) {
        if (/^--|^\+?[A-Za-z_]\w*(\.\w+)+=|^[;&|]/.test(words[k]!)) break
        values.push(words[k]!)
      }
      const parsed = values.map(scalar)
      settings[name!.replaceAll("-", "_")] =
        parsed.length === 0 ? true : parsed.length === 1 ? parsed[0] : parsed
    } else if (override !== null) {
      settings[override[1]!] = scalar(override[2]!)
    } else if (/^[\w./-]+$/.test(word)) {
      names.push(word)
    }
  })
  if (Object.keys(settings).length === 0) {
    throw new InputError(`${file}: expected a command line with --key value, found no option`)
  }
  const expressions = Object.fromEntries(
    Object.entries(settings).filter(
      ([, value]) => typeof value === "string" && /\$\w|\$\{/.test(value),
    ),
  ) as Record<string, string>
  for (const key of Object.keys(expressions)) delete settings[key]
  const launched = words.map((word) => /^NPROC_PER_NODE=(\d+)$/.exec(word)?.[1]).find(Boolean)
  const devices = Number(launched ?? settings.nproc_per_node ?? Number.NaN)
  for (const key of LAUNCHER) delete settings[key]
  return { settings, names, expressions, ...(devices > 0 ? { devices } : {}) }
}

/** Options of torchrun and accelerate, not of the run. */
const LAUNCHER = [
  ..."nproc_per_node nnodes node_rank master_addr master_port standalone".split(" "),
  ..."num_processes num_machines config_file rdzv_endpoint rdzv_backend rdzv_id".split(" "),
]

function shellWords(text: string): string[] {
  const joined = text.replaceAll(/\\\r?\n/g, " ")
  const lines = joined.split("\n").filter((line) => !/^\s*#/.test(line))
  return [...lines.join("\n").matchAll(/(?:[^\s"']+|"(?:\\.|[^"\\])*"|'[^']*')+/g)].map(([word]) =>
    word.replaceAll(/"((?:\\.|[^"\\])*)"|'([^']*)'/g, (_, double, single) => double ?? single),
  )
}

function scalar(text: string): unknown {
  if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) return Number(text)
  if (/^(true|false)$/i.test(text)) return text.toLowerCase() === "true"
  if (/^(null|none)$/i.test(text)) return null
  return text
}

/** The keyword arguments of the known classes' calls, where they are literals. */
function pythonSource(text: string, file: string): Source {
  const settings: Record<string, unknown> = {}
  const expressions: Record<string, string> = {}
  const names: string[] = []
  for (const call of text.matchAll(/\b([A-Z]\w+)\s*\(/g)) {
    const name = call[1]!
    if (!CLASSES.includes(name)) continue
    names.push(name)
    for (const argument of callArguments(text, call.index + call[0].length)) {
      const pair = /^\s*(\w+)\s*=(?!=)\s*([\s\S]*?)\s*$/.exec(argument)
      if (pair === null) continue
      const key = name === "LoraConfig" ? `lora_config.${pair[1]}` : pair[1]!
      const value = pythonLiteral(pair[2]!)
      if (value === undefined) expressions[key] = pair[2]!
      else settings[key] = value.value
    }
  }
  if (names.length === 0) {
    throw new InputError(`${file}: expected a call of ${CLASSES.join(", ")}; found none`)
  }
  for (const [key, call, argument] of NAMED_ONCE) {
    const found = call.exec(text)
    if (found === null) continue
    const [first = "", ...others] = callArguments(text, found.index + found[0].length)
    const named = [first, ...others].find((one) => one.trim().startsWith(`${argument}=`))
    const value = pythonLiteral((named?.replace(/^[^=]*=/, "") ?? first).trim())
    if (typeof value?.value === "string") settings[key] = value.value
    const split = others.find((one) => /^\s*split\s*=/.test(one))
    if (key !== "load_dataset.path" || split === undefined) continue
    const literal = pythonLiteral(split.replace(/^[^=]*=/, "").trim())
    if (typeof literal?.value === "string") settings["load_dataset.split"] = literal.value
  }
  return { settings, names, expressions }
}

/** Calls whose first argument, or the one named, is a setting when it is a string. */
const NAMED_ONCE = [
  ["SFTTrainer.model", /\bSFTTrainer\s*\(/, "model"],
  ["load_dataset.path", /\bload_dataset\s*\(/, "path"],
] as const

/** The arguments' texts from just after the opening parenthesis, split at commas outside brackets and strings. */
function callArguments(text: string, start: number): string[] {
  const found: string[] = []
  let [depth, from] = [0, start]
  for (let at = start; at < text.length; at++) {
    const character = text[at]!
    if (character === '"' || character === "'") {
      at = stringEnd(text, at)
    } else if (character === "#") {
      const end = text.indexOf("\n", at)
      const stop = end === -1 ? text.length : end
      text = text.slice(0, at) + " ".repeat(stop - at) + text.slice(stop)
    } else if ("([{".includes(character)) {
      depth += 1
    } else if (depth > 0 && ")]}".includes(character)) {
      depth -= 1
    } else if (depth === 0 && (character === "," || character === ")")) {
      found.push(text.slice(from, at))
      from = at + 1
      if (character === ")") break
    }
  }
  return found
}

function stringEnd(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    if (text[at] === "\\") at += 1
    else if (text[at] === text[start]) return at
  }
  return text.length
}

/** A number, string, True, False, None, or a list or tuple of them; undefined for anything else. */
function pythonLiteral(text: string): { readonly value: unknown } | undefined {
  if (/^(True|False|None)$/.test(text)) {
    return { value: text === "None" ? null : text === "True" }
  }
  const number = text.replaceAll("_", "")
  if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(number)) return { value: Number(number) }
  const string = /^("((?:[^"\\\n]|\\.)*)"|'((?:[^'\\\n]|\\.)*)')$/.exec(text)
  if (string !== null) {
    return { value: (string[2] ?? string[3] ?? "").replaceAll(/\\(["'\\])/g, "$1") }
  }
  if (/^[[(][\s\S]*[\])]$/.test(text)) {
    const items = callArguments(`${text.slice(1, -1)})`, 0).filter((item) => item.trim() !== "")
    const values = items.map((item) => pythonLiteral(item.trim()))
    return values.includes(undefined) ? undefined : { value: values.map((item) => item!.value) }
  }
  return undefined
}
