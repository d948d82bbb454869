import { InputError } from "../../errors.ts"
import { ExactFloat, exactMember } from "../../formats/exact-json.ts"
import { describeValue, isObject, type JsonObject } from "../../formats/json.ts"
import { PICTURE } from "../../text/chat-message.ts"
import { REASONING } from "../../text/chat-template.ts"
import type { PictureSource } from "../pictures/picture.ts"
import type { Message } from "./example.ts"
import { isContextOnly, TRAIN_KEYS } from "./not-trained.ts"
import { isPicturePart, partPicture } from "./pictures.ts"
import { callsInText, toolCalls } from "./tool-calls.ts"
import { has, jsonValue, textValue, wellFormed } from "./values.ts"

/** Messages as the template takes them, and which of them say they are not to be trained. */
export interface Chat {
  readonly messages: readonly Message[]
  /** Indices, ascending. */
  readonly context: readonly number[]
}

/** The names that data sets give to the speakers, in lower case. */
const SPEAKERS: Readonly<Record<string, string>> = {
  human: "user",
  user: "user",
  prompter: "user",
  gpt: "assistant",
  chatgpt: "assistant",
  assistant: "assistant",
  model: "assistant",
  bot: "assistant",
  ai: "assistant",
  system: "system",
  developer: "developer",
  tool: "tool",
  tool_response: "tool",
  tool_result: "tool",
  function_response: "tool",
}
/** Of a list of {from, value} alone: under `role` they are names that templates know. */
const SHAREGPT: Readonly<Record<string, string>> = { function: "tool", observation: "tool" }
/** Turns whose text is a call, which the assistant makes. */
const CALL_SPEAKERS = new Set(["function_call", "tool_call", "tool_calls"])

const SPEAKER_KEYS = ["role", "from", "speaker"] as const
const CONTENT_KEYS = ["content", "value", "text"] as const
/** Keys of a message that become something else. */
const READ_KEYS = new Set<string>([
  ...SPEAKER_KEYS,
  ...CONTENT_KEYS,
  ...TRAIN_KEYS,
  "tool_calls",
  "function_call",
  "pictures",
])

/**
 * Reads a list of messages in any of its usual forms: {role, content}, {from, value}, either as
 * JSON text, with content as text or in parts.
 *
 * @throws InputError naming the message and key that cannot be read
 */
export function chatMessages(value: unknown, key: string, where: string): Chat {
  const list = jsonValue(value, key, where)
  if (!Array.isArray(list)) {
    throw new InputError(`${where}: expected "${key}" to be a list, got ${describeValue(list)}`)
  }
  if (list.length === 0)
    throw new InputError(`${where}: expected "${key}" to hold messages, got none`)
  const messages: Message[] = []
  const context: number[] = []
  for (const [i, turn] of list.entries()) {
    const at = `${key}[${i}]`
    if (!isObject(turn)) {
      throw new InputError(`${where}: expected "${at}" to be an object, got ${describeValue(turn)}`)
    }
    const message = readMessage(turn, at, where)
    const speaker = speakerOf(turn)
    const calls = typeof speaker === "string" && CALL_SPEAKERS.has(speaker.toLowerCase())
    const isContext = isContextOnly(turn, at, where)
    const last = messages.at(-1)
    // a call and what is said before it are one turn, as ms-swift reads them
    if (
      calls &&
      last?.role === "assistant" &&
      context.includes(messages.length - 1) === isContext
    ) {
      messages[messages.length - 1] = {
        ...last,
        tool_calls: [...callsOf(last), ...callsOf(message)],
      }
      continue
    }
    if (isContext) context.push(messages.length)
    messages.push(message)
  }
  return { messages, context }
}

const callsOf = ({ tool_calls }: Message): readonly unknown[] =>
  Array.isArray(tool_calls) ? tool_calls : []

const speakerOf = (turn: JsonObject): unknown =>
  turn[SPEAKER_KEYS.find((key) => has(turn, key)) ?? "role"]

function readMessage(turn: JsonObject, at: string, where: string): Message {
  const role = roleOf(turn, at, where)
  const contentKey = CONTENT_KEYS.find((key) => has(turn, key))
  const said =
    contentKey === undefined
      ? { content: "" }
      : contentOf(exactMember(turn, contentKey), `${at}.${contentKey}`, where)
  const rest = Object.fromEntries(
    Object.entries(turn).filter(([key, value]) => value !== null && !READ_KEYS.has(key)),
  )
  if (role === undefined) {
    return {
      ...rest,
      role: "assistant",
      content: "",
      tool_calls: callsInText(said.content, `${at}.${contentKey}`, where),
    }
  }
  const calls = [...toolCalls(turn, at, where), ...(said.calls ?? [])]
  const isSilent = CONTENT_KEYS.every((key) => turn[key] === undefined)
  const reasoning = said.reasoning ?? REASONING.map((key) => turn[key]).find((v) => v != null)
  if (isSilent && calls.length === 0 && reasoning === undefined) {
    throw new InputError(`${where}: expected "${at}.content" to be text, got nothing`)
  }
  return {
    ...rest,
    ...(said.reasoning === undefined ? {} : { reasoning_content: said.reasoning }),
    role,
    content: said.content,
    ...(said.pictures ? { pictures: said.pictures } : {}),
    ...(calls.length === 0 ? {} : { tool_calls: calls }),
  }
}

/** A speaker's name as templates know it; undefined for a turn that is a call. */
function roleOf(turn: JsonObject, at: string, where: string): string | undefined {
  const key = SPEAKER_KEYS.find((name) => has(turn, name)) ?? "role"
  const speaker = turn[key]
  if (typeof speaker !== "string" || speaker === "") {
    throw new InputError(
      `${where}: expected "${at}.${key}" to be text, got ${describeValue(speaker)}`,
    )
  }
  const name = wellFormed(speaker, `${at}.${key}`, where).toLowerCase()
  if (CALL_SPEAKERS.has(name)) return undefined
  if (Object.hasOwn(SPEAKERS, name)) return SPEAKERS[name]!
  if (key === "role") return speaker
  if (Object.hasOwn(SHAREGPT, name)) return SHAREGPT[name]!
  const known = [...Object.keys(SPEAKERS), ...Object.keys(SHAREGPT), ...CALL_SPEAKERS].join(", ")
  throw new InputError(
    `${where}: expected "${at}.${key}" to be one of ${known}, got ${describeValue(speaker)}`,
  )
}

interface Content {
  readonly content: string
  readonly reasoning?: string
  readonly calls?: readonly unknown[]
  readonly pictures?: readonly PictureSource[]
}

/** Content is text, or the list of parts that newer data sets use. */
function contentOf(value: unknown, key: string, where: string): Content {
  if (value instanceof ExactFloat) {
    throw new InputError(`${where}: expected "${key}" to be text, got the float ${value.value}`)
  }
  if (isObject(value)) return contentOf([value], key, where)
  // labels and answers are often numbers; a whole one is written alike everywhere
  if (typeof value === "bigint" || Number.isSafeInteger(value)) return { content: String(value) }
  if (!Array.isArray(value)) return { content: textValue(value, key, where) }
  const texts: string[] = []
  const reasons: string[] = []
  const calls: unknown[] = []
  const pictures: PictureSource[] = []
  for (const part of value as unknown[]) {
    const kind = isObject(part) ? part.type : "text"
    if (isObject(part) && isPicturePart(kind)) {
      texts.push(PICTURE)
      pictures.push(partPicture(part, key, where))
      continue
    }
    const said = typeof part === "string" ? part : isObject(part) ? partText(part) : undefined
    if (said === undefined) throw unreadPart(part, key, where)
    if (["text", "input_text", "output_text"].some((name) => name === kind)) texts.push(said)
    else if (kind === "thinking" || kind === "reasoning") reasons.push(said)
    else if (kind === "tool_call") calls.push(...callsInText(said, key, where))
    else throw unreadPart(part, key, where)
  }
  return {
    content: wellFormed(texts.join(""), key, where),
    ...(reasons.length === 0 ? {} : { reasoning: wellFormed(reasons.join("\n"), key, where) }),
    ...(calls.length === 0 ? {} : { calls }),
    ...(pictures.length === 0 ? {} : { pictures }),
  }
}

/**
 * Under the part's own name, as OpenAI and Transformers write it, or under `value` (LLaMA-Factory).
 */
function partText(part: JsonObject): string | undefined {
  const own = typeof part.type === "string" ? [part.type] : []
  return ["text", ...own, "value"]
    .map((key) => part[key])
    .find((value): value is string => typeof value === "string")
}

function unreadPart(part: unknown, key: string, where: string): InputError {
  const kind = isObject(part) ? part.type : undefined
  const keys = isObject(part) ? Object.keys(part).join(", ") : ""
  const got = isObject(part)
    ? `a part of type ${describeValue(kind)}${kind === "text" ? ` with the keys ${keys} and no text in them` : ""}`
    : describeValue(part)
  return new InputError(`${where}: expected "${key}" to hold text parts only, got ${got}`)
}

/** @throws InputError when nobody speaks whose words could be trained */
export function needAssistant({ messages }: Chat, key: string, where: string): void {
  if (messages.some(({ role }) => role === "assistant")) return
  const roles = [...new Set(messages.map(({ role }) => role))].join(", ")
  throw new InputError(
    `${where}: expected "${key}" to hold an assistant message, got none to train on (the roles there: ${roles})`,
  )
}

/** Two parts of one chat. */
export function joined(first: Chat, second: Chat): Chat {
  const after = first.messages.length
  return {
    messages: [...first.messages, ...second.messages],
    context: [...first.context, ...second.context.map((index) => index + after)],
  }
}

/** As the keys of an example: `context` only where there is some. */
export const contextKey = ({ context }: Chat): { readonly context?: readonly number[] } =>
  context.length === 0 ? {} : { context }

/** Under a key: text as it is, or messages (one alone is a list of one). */
export function turns(row: JsonObject, key: string, where: string): string | Chat {
  const value = row[key]
  if (Array.isArray(value)) return chatMessages(value, key, where)
  if (isObject(value)) return chatMessages([value], key, where)
  return textValue(value, key, where)
}
