import type { DataFormat } from "../config/index.ts"
import { InputError } from "../errors.ts"
import { describeValue, isObject, type JsonObject } from "../formats/json.ts"

/** A message of a chat; keys beyond these (tool_calls, name, ...) go to the template as they are. */
export interface Message {
  readonly role: string
  readonly content: string
  readonly [key: string]: unknown
}

/** A prompt or completion: a plain string, or messages for the chat template. */
export type Turns = string | readonly Message[]

/** A row of a data file, whatever its shape was. */
export type Example =
  /** A whole chat: what every assistant message says may be trained. */
  | { readonly kind: "chat"; readonly messages: readonly Message[]; readonly tools?: unknown }
  /** Only the completion is trained. Both parts are strings, or both are messages. */
  | {
      readonly kind: "completion"
      readonly prompt: Turns
      readonly completion: Turns
      readonly system?: string
      readonly tools?: unknown
    }
  /** Everything is trained. */
  | { readonly kind: "text"; readonly text: string }
  | {
      readonly kind: "preference"
      readonly prompt: Turns
      readonly chosen: Turns
      readonly rejected: Turns
    }

/** What the rows are for; it decides which shape a row with several shapes has. */
export type Purpose = "supervised" | "preference"

interface Shape {
  readonly format: Exclude<DataFormat, "auto">
  readonly keys: readonly string[]
  readonly read: (row: JsonObject, where: string) => Example
}

/** In the order they are tried. A model's own samples keep the keys of their prompt: completion goes first. */
const SUPERVISED: readonly Shape[] = [
  ...["prompt", "problem", "question", "messages"].map(
    (key): Shape => ({
      format: "prompt-completion",
      keys: [key, "completion"],
      read: (row, where) => completionRow(row, key, "completion", where),
    }),
  ),
  { format: "messages", keys: ["messages"], read: (row, where) => chatRow(row, "messages", where) },
  { format: "sharegpt", keys: ["conversations"], read: shareGptRow },
  { format: "alpaca", keys: ["instruction", "output"], read: alpacaRow },
  {
    format: "problem-solution",
    keys: ["problem", "solution"],
    read: (row, where) => completionRow(row, "problem", "solution", where),
  },
  {
    format: "problem-solution",
    keys: ["question", "answer"],
    read: (row, where) => completionRow(row, "question", "answer", where),
  },
  {
    format: "text",
    keys: ["text"],
    read: (row, where) => ({ kind: "text", text: filledText(row, "text", where) }),
  },
]
const PREFERENCE: Shape = {
  format: "preference",
  keys: ["chosen", "rejected"],
  read: preferenceRow,
}

const EXPECTED: Readonly<Record<DataFormat, string>> = {
  auto: "messages; prompt and completion; instruction and output; conversations; problem and solution; question and answer; text; or chosen and rejected",
  messages: "messages",
  "prompt-completion": "prompt and completion",
  alpaca: "instruction and output",
  sharegpt: "conversations",
  "problem-solution": "problem and solution, or question and answer",
  text: "text",
  preference: "chosen and rejected",
}

interface ReadRowOptions {
  readonly format: DataFormat
  readonly purpose: Purpose
  /** `file:line`, for messages. */
  readonly where: string
}

/**
 * Tells a row's shape by its keys and reads it.
 *
 * @throws InputError with `where`, what was expected and what came.
 */
export function readRow(row: unknown, { format, purpose, where }: ReadRowOptions): Example {
  if (!isObject(row)) {
    throw new InputError(`${where}: expected a row to be an object, got ${describeValue(row)}`)
  }
  const has = (key: string) => row[key] !== undefined && row[key] !== null
  const shapes = purpose === "preference" ? [PREFERENCE] : SUPERVISED
  const shape = shapes.find(
    ({ format: shapeFormat, keys }) =>
      (format === "auto" || format === shapeFormat) && keys.every(has),
  )
  if (shape !== undefined) return shape.read(row, where)
  if (purpose === "supervised" && has("chosen") && has("rejected")) {
    throw new InputError(
      `${where}: expected rows to imitate, got a preference row (chosen, rejected); use objective: dpo`,
    )
  }
  throw new InputError(
    `${where}: ${unrecognised(row, purpose === "preference" ? "preference" : format)}`,
  )
}

/** Why no shape fits: the keys that are there, and the one that is missing when most are. */
function unrecognised(row: JsonObject, format: DataFormat): string {
  const keys = Object.keys(row)
  const partner: Readonly<Record<string, string>> = {
    prompt: "completion",
    completion: "prompt",
    instruction: "output",
    problem: "solution",
    question: "answer",
    chosen: "rejected",
    rejected: "chosen",
  }
  const has = (key: string) => row[key] !== undefined && row[key] !== null
  const lone = keys.find((key) => Object.hasOwn(partner, key) && has(key) && !has(partner[key]!))
  const empty = lone !== undefined && keys.includes(partner[lone]!) ? " (it is null)" : ""
  const missing = lone === undefined ? "" : `; it has "${lone}" but no "${partner[lone]}"${empty}`
  const shown = keys.slice(0, 12).map((key) => JSON.stringify(key.slice(0, 40)))
  const got =
    keys.length === 0
      ? "an empty row"
      : `the keys ${shown.join(", ")}${keys.length > 12 ? ", ..." : ""}`
  return `expected ${EXPECTED[format]}; got ${got}${missing}`
}

function text(row: JsonObject, key: string, where: string): string {
  const value = row[key]
  if (typeof value === "string") return wellFormed(value, key, where)
  throw new InputError(`${where}: expected "${key}" to be text, got ${describeValue(value)}`)
}

/** Half of a surrogate pair cannot be written as UTF-8: the tokens would say something else. */
function wellFormed(value: string, key: string, where: string): string {
  if (!/\p{Surrogate}/u.test(value)) return value
  throw new InputError(
    `${where}: "${key}" holds half of a surrogate pair, which is not Unicode text`,
  )
}

function filledText(row: JsonObject, key: string, where: string): string {
  const value = text(row, key, where)
  if (value !== "") return value
  throw new InputError(`${where}: expected "${key}" to say something, got ""`)
}

/** Content is text, or the list of text parts that newer data sets use. */
function contentText(value: unknown, key: string, where: string): string {
  if (typeof value === "string") return wellFormed(value, key, where)
  if (value === null || value === undefined) return ""
  if (!Array.isArray(value)) {
    throw new InputError(`${where}: expected "${key}" to be text, got ${describeValue(value)}`)
  }
  const parts = value.map((part: unknown) => {
    if (typeof part === "string") return part
    if (isObject(part) && part.type === "text" && typeof part.text === "string") return part.text
    const got = isObject(part) ? `a part of type ${describeValue(part.type)}` : describeValue(part)
    throw new InputError(`${where}: expected "${key}" to hold text parts only, got ${got}`)
  })
  return wellFormed(parts.join(""), key, where)
}

function messages(value: unknown, key: string, where: string): Message[] {
  if (!Array.isArray(value)) {
    throw new InputError(`${where}: expected "${key}" to be a list, got ${describeValue(value)}`)
  }
  if (value.length === 0)
    throw new InputError(`${where}: expected "${key}" to hold messages, got none`)
  return value.map((message: unknown, i) => {
    const at = `${key}[${i}]`
    if (!isObject(message)) {
      throw new InputError(
        `${where}: expected "${at}" to be an object, got ${describeValue(message)}`,
      )
    }
    if (typeof message.role !== "string" || message.role === "") {
      throw new InputError(
        `${where}: expected "${at}.role" to be text, got ${describeValue(message.role)}`,
      )
    }
    if (message.content === undefined && message.tool_calls === undefined) {
      throw new InputError(`${where}: expected "${at}.content" to be text, got nothing`)
    }
    return {
      ...message,
      role: message.role,
      content: contentText(message.content, `${at}.content`, where),
    }
  })
}

function needAssistant(list: readonly Message[], key: string, where: string): void {
  if (list.some(({ role }) => role === "assistant")) return
  throw new InputError(
    `${where}: expected "${key}" to hold an assistant message, got none to train on`,
  )
}

const toolsOf = (row: JsonObject) =>
  row.tools === undefined || row.tools === null ? {} : { tools: row.tools }

function chatRow(row: JsonObject, key: string, where: string): Example {
  const list = messages(row[key], key, where)
  needAssistant(list, key, where)
  return { kind: "chat", messages: list, ...toolsOf(row) }
}

/** Sharegpt's names for the speakers. */
const SPEAKERS: Readonly<Record<string, string>> = {
  human: "user",
  user: "user",
  gpt: "assistant",
  chatgpt: "assistant",
  assistant: "assistant",
  model: "assistant",
  system: "system",
  tool: "tool",
  function: "tool",
  observation: "tool",
}

function shareGptRow(row: JsonObject, where: string): Example {
  const { conversations } = row
  if (!Array.isArray(conversations)) {
    throw new InputError(
      `${where}: expected "conversations" to be a list, got ${describeValue(conversations)}`,
    )
  }
  const list = conversations.map((turn: unknown, i): Message => {
    const at = `conversations[${i}]`
    if (!isObject(turn)) {
      throw new InputError(`${where}: expected "${at}" to be an object, got ${describeValue(turn)}`)
    }
    const speaker = turn.from ?? turn.role
    const role =
      typeof speaker === "string" && Object.hasOwn(SPEAKERS, speaker)
        ? SPEAKERS[speaker]
        : undefined
    if (role === undefined) {
      const known = Object.keys(SPEAKERS).join(", ")
      throw new InputError(
        `${where}: expected "${at}.from" to be one of ${known}, got ${describeValue(speaker)}`,
      )
    }
    const key = turn.value === undefined ? "content" : "value"
    return { role, content: text(turn, key, `${where}: ${at}`) }
  })
  const system = typeof row.system === "string" && row.system !== "" ? row.system : undefined
  const all =
    system === undefined || list[0]?.role === "system"
      ? list
      : [{ role: "system", content: system }, ...list]
  needAssistant(all, "conversations", where)
  return { kind: "chat", messages: all, ...toolsOf(row) }
}

/** Instruction and input are joined by a newline, as LLaMA-Factory does. */
function alpacaRow(row: JsonObject, where: string): Example {
  const instruction = text(row, "instruction", where)
  const input = row.input === undefined || row.input === null ? "" : text(row, "input", where)
  const system = typeof row.system === "string" && row.system !== "" ? { system: row.system } : {}
  return {
    kind: "completion",
    prompt: [instruction, input].filter((part) => part !== "").join("\n"),
    completion: text(row, "output", where),
    ...system,
  }
}

function turns(row: JsonObject, key: string, where: string): Turns {
  return Array.isArray(row[key]) ? messages(row[key], key, where) : text(row, key, where)
}

function completionRow(row: JsonObject, promptKey: string, key: string, where: string): Example {
  const prompt = turns(row, promptKey, where)
  const completion = turns(row, key, where)
  if (typeof prompt === "string" && typeof completion === "string") {
    return { kind: "completion", prompt, completion }
  }
  const promptMessages = typeof prompt === "string" ? [{ role: "user", content: prompt }] : prompt
  // a chat's own answer is not part of the prompt of another answer
  const asked =
    promptKey === "messages" && promptMessages.at(-1)!.role === "assistant"
      ? promptMessages.slice(0, -1)
      : promptMessages
  const said =
    typeof completion === "string" ? [{ role: "assistant", content: completion }] : completion
  needAssistant(said, key, where)
  return { kind: "completion", prompt: asked, completion: said, ...toolsOf(row) }
}

function preferenceRow(row: JsonObject, where: string): Example {
  const chosen = turns(row, "chosen", where)
  const rejected = turns(row, "rejected", where)
  if (typeof chosen !== typeof rejected) {
    throw new InputError(
      `${where}: expected "chosen" and "rejected" to be of one kind, got text and messages`,
    )
  }
  if (row.prompt !== undefined && row.prompt !== null) {
    return { kind: "preference", ...aligned(turns(row, "prompt", where), chosen, rejected) }
  }
  if (typeof chosen === "string" || typeof rejected === "string") {
    throw new InputError(`${where}: expected "prompt" beside "chosen" and "rejected", got nothing`)
  }
  return { kind: "preference", ...sharedPrompt(chosen, rejected, where) }
}

type Pair = { readonly prompt: Turns; readonly chosen: Turns; readonly rejected: Turns }

/** Makes all three strings, or all three messages; drops a prompt repeated at the start of the answers. */
function aligned(prompt: Turns, chosen: Turns, rejected: Turns): Pair {
  if (typeof prompt === "string" && typeof chosen === "string") return { prompt, chosen, rejected }
  const asked = typeof prompt === "string" ? [{ role: "user", content: prompt }] : prompt
  const answer = (turns: Turns): readonly Message[] => {
    if (typeof turns === "string") return [{ role: "assistant", content: turns }]
    const repeats =
      turns.length > asked.length &&
      asked.every(
        ({ role, content }, i) => turns[i]!.role === role && turns[i]!.content === content,
      )
    return repeats ? turns.slice(asked.length) : turns
  }
  return { prompt: asked, chosen: answer(chosen), rejected: answer(rejected) }
}

/** Without a prompt key, the messages that both answers begin with are the prompt. */
function sharedPrompt(
  chosen: readonly Message[],
  rejected: readonly Message[],
  where: string,
): Pair {
  let shared = 0
  const same = (a: Message | undefined, b: Message | undefined) =>
    a !== undefined && b !== undefined && a.role === b.role && a.content === b.content
  while (same(chosen[shared], rejected[shared])) shared++
  if (shared === chosen.length || shared === rejected.length) {
    throw new InputError(
      `${where}: expected "chosen" and "rejected" to differ, got one inside the other`,
    )
  }
  return {
    prompt: chosen.slice(0, shared),
    chosen: chosen.slice(shared),
    rejected: rejected.slice(shared),
  }
}
