import { InputError } from "../errors.ts"

/**
 * A shell script's command with its options. Variables and whole-number arithmetic are worked out;
 * nothing is run.
 */
export interface Command {
  readonly settings: Readonly<Record<string, unknown>>
  /** The words that are no options: `swift`, `sft`. */
  readonly names: readonly string[]
  /** Options whose values only running the script could tell. */
  readonly expressions: Readonly<Record<string, string>>
  /** Processes it was started with, where the command says. */
  readonly devices: number | undefined
  /** How many commands with options the script has. */
  readonly commands: number
}

/** Options of torchrun and accelerate, not of the run. */
const LAUNCHER = [
  ..."nproc_per_node nnodes node_rank master_addr master_port standalone".split(" "),
  ..."num_processes num_machines config_file rdzv_endpoint rdzv_backend rdzv_id".split(" "),
]

/** Words that name a training command; of several commands in a file the first with one is read. */
const TRAINS = /^(?:sft|pt|pretrain|train|rlhf|dpo|grpo|kto|rloo|reward)$|sft|train|rlhf|dpo|grpo/

/**
 * `program sub --key value --key=value --flag key.path=value`, with quotes, comments, line
 * continuations and `NAME=value` before it.
 *
 * @throws InputError when no command has options
 */
export function readCommand(text: string, file: string): Command {
  const variables = new Map<string, string>()
  const found: Omit<Command, "commands">[] = []
  for (const words of commandsOf(text, file)) {
    const command = readWords(words, variables)
    if (Object.keys(command.settings).length + Object.keys(command.expressions).length > 0) {
      found.push(command)
    }
  }
  const first = found.find(({ names }) => names.some((name) => TRAINS.test(baseName(name))))
  const command = first ?? found[0]
  if (command === undefined) {
    throw new InputError(`${file}: expected a command line with --key value, found no option`)
  }
  return { ...command, commands: found.length }
}

export const baseName = (path: string): string => path.split("/").at(-1)!

function readWords(
  words: readonly string[],
  variables: Map<string, string>,
): Omit<Command, "commands"> {
  let at = 0
  let launched: string | undefined
  for (; at < words.length; at++) {
    const word = words[at] === "export" ? (words[++at] ?? "") : words[at]!
    const assigned = /^([A-Za-z_]\w*)=([\s\S]*)$/.exec(word)
    if (!assigned) break
    const value = expanded(unquoted(assigned[2]!), variables)
    variables.set(assigned[1]!, value)
    if (assigned[1] === "NPROC_PER_NODE") launched = value
  }
  const settings: Record<string, unknown> = {}
  const names: string[] = []
  const rest = words.slice(at).flatMap((word) => {
    const whole = expanded(unquoted(word), variables)
    // outside quotes a variable's value is as many words as it has
    return /["'`]|\$\(/.test(word) || whole === word ? [whole] : whole.split(/\s+/).filter(Boolean)
  })
  for (const [index, word] of rest.entries()) {
    const option = /^--([\w.-]+)(?:=([\s\S]*))?$/.exec(word)
    const override = /^\+{0,2}([A-Za-z_]\w*(?:\.\w+)+)=([\s\S]*)$/.exec(word)
    if (option !== null) {
      const [, name, inline] = option
      const values: string[] = inline === undefined ? [] : [inline]
      for (let k = index + 1; inline === undefined && k < rest.length; k++) {
        if (/^--[A-Za-z]|^\+{0,2}[A-Za-z_]\w*(\.\w+)+=|^\d?>/.test(rest[k]!)) break
        values.push(rest[k]!)
      }
      const parsed = values.map(scalar)
      settings[name!.replaceAll("-", "_")] =
        parsed.length === 0 ? true : parsed.length === 1 ? parsed[0] : parsed
    } else if (override !== null) settings[override[1]!] = scalar(override[2]!)
    else if (isProgram(word, index, rest)) names.push(word)
  }
  const expressions = Object.fromEntries(
    Object.entries(settings).filter(
      ([, value]) => typeof value === "string" && /\$[\w{(]|`/.test(value),
    ),
  ) as Record<string, string>
  for (const key of Object.keys(expressions)) delete settings[key]
  const devices = Number(launched ?? variables.get("NPROC_PER_NODE") ?? settings.nproc_per_node)
  for (const key of LAUNCHER) delete settings[key]
  return { settings, names, expressions, devices: devices > 0 ? devices : undefined }
}

/**
 * Words before the first option, a script, and the module behind `-m`; others are options' values.
 */
function isProgram(word: string, index: number, words: readonly string[]): boolean {
  if (!/^[\w./-]+$/.test(word) || word.startsWith("-")) return false
  const first = words.findIndex((each) => /^--/.test(each))
  return first < 0 || index < first || words[index - 1] === "-m" || word.endsWith(".py")
}

/** A line break or another end of a command; a comment; a word; a quote that nothing closes. */
const SHELL_PART =
  /(?<end>\n|&&|\|\||;|\|)|(?<=^|[\s;|&])#[^\n]*|(?<word>(?:\$\(\((?:[^()]|\([^()]*\))*\)\)|\$\((?:[^()]|\([^()]*\))*\)|`[^`\n]*`|"(?:\\.|[^"\\])*"|'[^']*'|[^\s"'`;|\n])+)|(?<open>["'`])/g
const CONTINUATION = /\\[ \t]*\r?\n/g
const HERE_DOCUMENT = /<<-?[ \t]*(["']?)(\w+)\1[^\n]*\n[\s\S]*?^\t*\2$/gm

/** Takes something out of a text in which every place stays what it was. */
const blanked = (whole: string): string => whole.replaceAll(/[^\n]/g, " ")

/** The words of each command, quotes kept; `$( )`, backticks and quotes hold spaces. */
function commandsOf(text: string, file: string): string[][] {
  const joined = text
    .replaceAll(HERE_DOCUMENT, blanked)
    .replaceAll(CONTINUATION, (whole) => " ".repeat(whole.length))
  const commands: string[][] = [[]]
  for (const { groups, index } of joined.matchAll(SHELL_PART)) {
    const { end, word, open } = groups!
    if (open !== undefined) {
      const line = text.slice(0, index).split("\n").length
      throw new InputError(
        `${file}:${line}: the quote ${open} has no partner. Is the script whole?`,
      )
    }
    if (end !== undefined) commands.push([])
    else if (word !== undefined && word !== "&") commands.at(-1)!.push(word)
  }
  return commands.filter((words) => words.length > 0)
}

/** Double quotes keep their variables, single quotes hide them. */
const unquoted = (word: string): string =>
  word.replaceAll(/"((?:\\.|[^"\\])*)"|'([^']*)'/g, (_, double, single) =>
    double === undefined ? String(single).replaceAll("$", "\ue000") : double,
  )

/**
 * Variables that the script itself sets, and arithmetic of whole numbers; the rest stays as
 * written.
 */
function expanded(word: string, variables: ReadonlyMap<string, string>): string {
  const named = word.replaceAll(
    /\$\{(\w+)(?::?-([^{}]*))?\}|\$([A-Za-z_]\w*)/g,
    (whole, braced, fallback, bare) => variables.get(braced ?? bare) ?? fallback ?? whole,
  )
  const counted = named.replaceAll(
    /\$\(\(((?:[^()$`]|\([^()$`]*\))*)\)\)|\$\(\s*expr\s+([^$`()]*)\)|`\s*expr\s+([^$`]*)`/g,
    (whole, inner, call, ticks) => {
      const written = String(inner ?? call ?? ticks).replaceAll("\\", "")
      // inside (( )) a variable needs no dollar
      const value = arithmetic(
        written.replaceAll(/[A-Za-z_]\w*/g, (name) => variables.get(name) ?? name),
      )
      return value === undefined ? whole : String(value)
    },
  )
  return counted.replaceAll("\ue000", "$")
}

/** `16 / (2 * 4)` of whole numbers, cut towards zero as the shell does. */
function arithmetic(text: string): number | undefined {
  const tokens = text.match(/\d+|[-+*/%()]/g) ?? []
  if (tokens.join("") !== text.replaceAll(/\s/g, "")) return undefined
  let at = 0
  const factor = (): number => {
    const token = tokens[at++]
    if (token === "(") {
      const value = sum()
      return tokens[at++] === ")" ? value : Number.NaN
    }
    return token === "-" ? -factor() : token === undefined ? Number.NaN : Number(token)
  }
  const product = (): number => {
    let value = factor()
    while (at < tokens.length && /[*/%]/.test(tokens[at]!)) {
      const operator = tokens[at++]
      const right = factor()
      value =
        operator === "*"
          ? value * right
          : operator === "/"
            ? Math.trunc(value / right)
            : value % right
    }
    return value
  }
  const sum = (): number => {
    let value = product()
    while (tokens[at] === "+" || tokens[at] === "-")
      value += tokens[at++] === "+" ? product() : -product()
    return value
  }
  const value = sum()
  return at === tokens.length && Number.isFinite(value) ? value : undefined
}

function scalar(text: string): unknown {
  if (/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) return Number(text)
  if (/^(true|false)$/i.test(text)) return text.toLowerCase() === "true"
  if (/^(null|none)$/i.test(text)) return null
  return text
}
