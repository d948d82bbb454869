import { InputError } from "../errors.ts"
import { ExactFloat, exactMembers } from "../formats/exact-json.ts"
import { isObject } from "../formats/json.ts"
import { PICTURE } from "../text/chat-message.ts"
import { REASONING } from "../text/chat-template.ts"
import type { AssistantSpan, ChatTemplate } from "../text/index.ts"
import type { RowNote } from "./lints.ts"
import type { Message, RowReading } from "./rows/index.ts"

/** A chat as its template wrote it. */
export interface RenderedChat {
  readonly text: string
  readonly spans: readonly AssistantSpan[]
  /** As the template got them. */
  readonly messages: readonly Message[]
  readonly tools?: unknown
  /** The template again, over other messages. */
  readonly again: (messages: readonly Message[]) => string
}

/**
 * What a row says and its text does not: messages and parts of them, tool calls with each argument,
 * reasoning, tools. A template that does not know them leaves them out without a word.
 */
export function unwrittenNotes(chat: RenderedChat, template: ChatTemplate): RowNote[] {
  const { messages, spans, text, tools } = chat
  const notes = new Set<RowNote>()
  const spanOf = new Map(spans.map((span) => [span.message, span]))
  const dropped = unreadMessages(chat, template)
  let from = 0
  for (const [i, message] of messages.entries()) {
    const region = regionOf(text, spanOf.get(i), from)
    if (dropped.has(i)) notes.add("dropped-role")
    else for (const note of unwrittenContent(message, region)) notes.add(note)
    const thought = REASONING.map((key) => message[key]).find((value) => value !== undefined)
    if (!isWritten(thought, region)) notes.add("dropped-reasoning")
    const calls = Array.isArray(message.tool_calls) ? (message.tool_calls as unknown[]) : []
    if (!calls.every((call) => isCallWritten(call, region))) notes.add("dropped-tool-call")
    from = spanOf.get(i)?.end ?? from
  }
  if (!toolNames(tools).every((name) => text.includes(name))) notes.add("dropped-tools")
  return [...notes]
}

/** Keys of a row, and of its messages, that say something and that nothing is made of. */
export function unusedKeysOf(
  { unused, messageKeys }: RowReading,
  template: ChatTemplate | null,
): string[] {
  const unread = messageKeys.filter((key) => !template || !isNamed(template, key))
  return [...unused, ...unread.map((key) => `messages[].${key}`)]
}

const namedKeys = new WeakMap<ChatTemplate, Map<string, boolean>>()

/** Whether a template's source names a key; looked for once, and not for each row that has it. */
function isNamed(template: ChatTemplate, key: string): boolean {
  const known = namedKeys.get(template) ?? new Map<string, boolean>()
  namedKeys.set(template, known)
  const told = known.get(key) ?? names(template.source, key)
  if (known.size < MOST_KEYS) known.set(key, told)
  return told
}

/** A stranger's rows may each have another key. */
const MOST_KEYS = 1000

function names(source: string, key: string): boolean {
  const isPart = (letter: string | undefined) =>
    letter !== undefined && /[\p{L}\p{N}_]/u.test(letter)
  for (let at = source.indexOf(key); at !== -1; at = source.indexOf(key, at + 1)) {
    if (!isPart(source[at - 1]) && !isPart(source[at + key.length])) return true
  }
  return false
}

/** Where a message is looked for: its own span, or what follows the last answer. */
function regionOf(text: string, span: AssistantSpan | undefined, from: number): Region {
  const isSaid = span !== undefined && span.turnEnd > span.start
  const [start, end] = isSaid ? [span.start, span.turnEnd] : [from, text.length]
  let squeezed: string | undefined
  return {
    has: (part) => {
      const at = text.indexOf(part, start)
      if (at !== -1 && at + part.length <= end) return true
      squeezed ??= squeeze(isSaid ? text.slice(start, end) : text)
      return variants(part).some((variant) => squeezed!.includes(squeeze(variant)))
    },
  }
}

interface Region {
  /** Whether the text is there, white space and the usual escapes aside. */
  has(part: string): boolean
}

const squeeze = (text: string) => text.replaceAll(/\s+/gu, "")

/** A text as it is, and inside JSON: templates write calls and some results through `tojson`. */
function variants(text: string): string[] {
  const json = JSON.stringify(text).slice(1, -1)
  const ascii = json.replaceAll(
    /[\u0080-\uffff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  )
  const html = (part: string) =>
    part.replaceAll(/[<>&']/g, (c) => `\\u00${c.charCodeAt(0).toString(16)}`)
  const plain = [text, json, ascii, html(json), html(ascii)]
  return [...new Set([...plain, ...plain.map((part) => JSON.stringify(part).slice(1, -1))])]
}

/** A part of a message that is cut at tags which templates take apart (thoughts, calls). */
const TAG = /(<\/?[A-Za-z_|][\w|-]*>)/

function unwrittenContent({ content, pictures }: Message, region: Region): RowNote[] {
  if (pictures !== undefined) {
    const parts = content.split(PICTURE)
    return parts.flatMap((part) => unwrittenContent({ role: "user", content: part }, region))
  }
  const said = content.trim()
  if (said === "" || region.has(said)) return []
  const notes: RowNote[] = []
  let isThought = false
  // a thought may begin in the generation prompt: "...</think> answer"
  const opens = said.indexOf("<think>")
  const closes = said.indexOf("</think>")
  if (closes !== -1 && (opens === -1 || opens > closes)) isThought = true
  for (const part of said.split(TAG)) {
    if (part === "<think>") isThought = true
    else if (part === "</think>") isThought = false
    else if (!TAG.test(part) && part.trim() !== "" && !region.has(part.trim()))
      notes.push(isThought ? "dropped-reasoning" : "dropped-role")
  }
  return notes
}

function isWritten(value: unknown, region: Region): boolean {
  if (typeof value !== "string") return true
  return value.trim() === "" || region.has(value.trim())
}

function isCallWritten(call: unknown, region: Region): boolean {
  const called = calledOf(call)
  if (called === undefined) return true
  const { name, arguments: given } = called
  return [name, ...leaves(given)].every((part) => typeof part !== "string" || region.has(part))
}

const calledOf = (call: unknown) =>
  isObject(call) ? (isObject(call.function) ? call.function : call) : undefined

/** Whether every call of the chat is in its text, with all its arguments. */
export function writesCalls({ messages, spans, text }: Omit<RenderedChat, "again">): boolean {
  const spanOf = new Map(spans.map((span) => [span.message, span]))
  return messages.every(({ tool_calls }, i) => {
    if (!Array.isArray(tool_calls)) return true
    const region = regionOf(text, spanOf.get(i), 0)
    return tool_calls.every((call) => isCallWritten(call, region))
  })
}

/**
 * Keys, texts and whole numbers in arguments; what has several spellings (true, null, 2.0) is left
 * out.
 */
function leaves(value: unknown): string[] {
  if (typeof value === "string") return value.trim() === "" ? [] : [value.trim()]
  if (typeof value === "bigint" || Number.isInteger(value)) return [String(value)]
  if (Array.isArray(value)) return exactMembers(value).flatMap(([, inner]) => leaves(inner))
  if (!isObject(value) || value instanceof ExactFloat) return []
  return exactMembers(value).flatMap(([key, inner]) => [key, ...leaves(inner)])
}

/** A call whose arguments are no object: a template writes them with quotes around them. */
export function hasTextArguments({ tool_calls }: Message): boolean {
  return (
    Array.isArray(tool_calls) &&
    tool_calls.some((call: unknown) => {
      const given = calledOf(call)?.arguments
      return typeof given === "string" && given.trim() !== ""
    })
  )
}

function toolNames(tools: unknown): string[] {
  const list = Array.isArray(tools) ? (tools as unknown[]) : []
  return list.flatMap((tool) => {
    const named = isObject(tool) && isObject(tool.function) ? tool.function : tool
    return isObject(named) && typeof named.name === "string" ? [named.name] : []
  })
}

/** Per template: of each structure of chats, which messages it does not read. */
const unreadOf = new WeakMap<ChatTemplate, Map<string, ReadonlySet<number>>>()
const MAX_STRUCTURES = 10_000

/**
 * Messages whose text the template does not read at all, found by putting marks in their place: a
 * short text may stand in the rendering by chance. What a structure of chats (roles and keys) shows
 * holds for all chats of that structure.
 */
function unreadMessages(
  { messages, tools, again }: RenderedChat,
  template: ChatTemplate,
): ReadonlySet<number> {
  const structure = messages
    .map(
      (message) =>
        `${Object.keys(message).join(",")}:${message.role}:${message.content.trim() === ""}`,
    )
    .join("\n")
  const known = unreadOf.get(template) ?? new Map<string, ReadonlySet<number>>()
  unreadOf.set(template, known)
  const key = `${tools === undefined}\n${structure}`
  const found = known.get(key) ?? marksLost(messages, again)
  if (known.size >= MAX_STRUCTURES) known.clear()
  known.set(key, found)
  return found
}

const mark = (i: number) => `mark${i}end`
const MARK = /mark(\d+)end/g

function marksLost(messages: readonly Message[], again: RenderedChat["again"]): Set<number> {
  const says = ({ content }: Message) => content.trim() !== ""
  try {
    const text = again(messages.map((m, i) => (says(m) ? { ...m, content: mark(i) } : m)))
    const found = new Set([...text.matchAll(MARK)].map(([, i]) => Number(i)))
    return new Set(messages.flatMap((message, i) => (says(message) && !found.has(i) ? [i] : [])))
  } catch (error) {
    if (error instanceof InputError) return new Set() // the template asks more of its messages
    throw error
  }
}
