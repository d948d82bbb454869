import { InputError } from "../errors.ts"
import type { AssistantSpan, ChatMessage } from "./chat-message.ts"

/** Characters of the private-use area: no tokenizer and no text has them, templates pass them through. */
const OPEN = "\uE0F0"
const CLOSE = "\uE0F1"
export const MARKS = { open: OPEN, close: CLOSE }
const STAND_IN = "\uE0F2stand\uE0F3in\uE0F2"

const isAssistant = ({ role }: ChatMessage) => role === "assistant" || role === "model"

/** Such a message says more than its content. */
const callsTools = ({ tool_calls }: ChatMessage) =>
  Array.isArray(tool_calls) && tool_calls.length > 0

export interface SpanSearch {
  readonly text: string
  readonly path: string
  readonly specialTokens: readonly string[]
  readonly render: (messages: readonly ChatMessage[], addGenerationPrompt: boolean) => string
}

interface MarkedSearch extends SpanSearch {
  /** Renders with marks at the ends of the template's generation blocks. */
  readonly marked: (messages: readonly ChatMessage[]) => string
}

interface Blocks {
  readonly text: string
  readonly ranges: readonly { readonly start: number; readonly end: number }[]
}

function readBlocks(marked: string): Blocks {
  const ranges: { start: number; end: number }[] = []
  let text = ""
  let start = -1
  for (const part of marked.split(new RegExp(`([${OPEN}${CLOSE}])`))) {
    if (part === OPEN) start = text.length
    else if (part === CLOSE) ranges.push({ start, end: text.length })
    else text += part
  }
  return { text, ranges }
}

/** The spans between the marks; the text without them must be the plain rendering. */
export function generationSpans(
  messages: readonly ChatMessage[],
  { text, path, marked }: MarkedSearch,
): AssistantSpan[] {
  const said = messages.flatMap((message, i) => (isAssistant(message) ? [i] : []))
  const blocks = readBlocks(marked(messages))
  if (blocks.text !== text || blocks.ranges.length !== said.length) {
    throw new InputError(
      `${path}: its {% generation %} blocks do not enclose each assistant message once ` +
        `(${blocks.ranges.length} blocks for ${said.length} messages)`,
    )
  }
  const replaced = attempt(() =>
    readBlocks(marked(messages.map((m) => (isAssistant(m) ? { ...m, content: STAND_IN } : m)))),
  )
  return blocks.ranges.map(({ start, end }, i) => {
    const message = said[i]!
    const other = replaced?.ranges.length === said.length ? replaced.ranges[i] : undefined
    const block = other === undefined ? "" : replaced!.text.slice(other.start, other.end)
    // The block may hold the end of turn as well: it is what follows the message's own text.
    const at = callsTools(messages[message]!) ? -1 : block.lastIndexOf(STAND_IN)
    const closing = at < 0 ? "" : block.slice(at + STAND_IN.length)
    const holds = closing.length <= end - start && text.slice(start, end).endsWith(closing)
    return { message, start, end: holds ? end - closing.length : end, turnEnd: end }
  })
}

/**
 * What each assistant message became in `text`, for templates without marks. The conversation is
 * rendered once more with a stand-in for the message's content: what follows the stand-in must be
 * how `text` ends, and what comes before it how `text` begins (or, where a template writes more of
 * a message than its content, such as its reasoning, the generation prompt must be).
 *
 * @throws InputError where this does not hold: a wrong mask is worse than none
 */
export function finishedSpans(
  messages: readonly ChatMessage[],
  search: SpanSearch,
): AssistantSpan[] {
  const spans: AssistantSpan[] = []
  let from = 0
  for (const [message, sent] of messages.entries()) {
    if (!isAssistant(sent)) continue
    const span = messageSpan(messages, message, search)
    if (span.start < from) throw unclear(search.path, message)
    from = span.turnEnd
    spans.push(span)
  }
  return spans
}

const unclear = (path: string, message: number) =>
  new InputError(
    `${path}: cannot tell what the template makes of message ${message + 1} (assistant); ` +
      "put {% generation %} and {% endgeneration %} around what the assistant says",
  )

/** The stand-in takes the place of the content and of tool calls, which the assistant says as well. */
function withStandIn(messages: readonly ChatMessage[], message: number): ChatMessage[] {
  return messages.map((sent, i) => {
    if (i !== message) return sent
    return callsTools(sent)
      ? { role: sent.role, content: STAND_IN }
      : { ...sent, content: STAND_IN }
  })
}

function messageSpan(
  messages: readonly ChatMessage[],
  message: number,
  { text, path, specialTokens, render }: SpanSearch,
): AssistantSpan {
  const other = attempt(() => render(withStandIn(messages, message), false))
  if (other === undefined) throw unclear(path, message)
  const at = other.indexOf(STAND_IN)
  if (at < 0 || other.indexOf(STAND_IN, at + 1) >= 0) throw unclear(path, message)
  const before = other.slice(0, at)
  const after = other.slice(at + STAND_IN.length)
  const end = text.length - after.length
  if (!text.endsWith(after)) throw unclear(path, message)

  const start = beginning(messages, message, { text, before, render })
  if (start === undefined || start > end) throw unclear(path, message)
  const closing =
    closingToken(after, specialTokens) || unknownClosing(messages, message, after, render)
  return { message, start, end, turnEnd: end + closing.length }
}

/** Where the model begins to speak: after the generation prompt, or where the content begins. */
function beginning(
  messages: readonly ChatMessage[],
  message: number,
  {
    text,
    before,
    render,
  }: { readonly text: string; readonly before: string; readonly render: SpanSearch["render"] },
): number | undefined {
  const context = messages.slice(0, message)
  const prompted = attempt(() => render(context, true))
  // A template that ignores the flag says nothing about where the model begins.
  const prompt = prompted === attempt(() => render(context, false)) ? undefined : prompted
  const withoutSpace = prompt?.trimEnd()
  const fits = (prefix: string | undefined): prefix is string =>
    prefix !== undefined && text.startsWith(prefix)
  if (text.startsWith(before)) {
    // What stands between the generation prompt and the content is the model's to write, unless it is space.
    if (fits(prompt) && before.startsWith(prompt) && before.slice(prompt.length).trim() !== "") {
      return prompt.length
    }
    return before.length
  }
  if (fits(prompt)) return prompt.length
  return fits(withoutSpace) ? withoutSpace.length : undefined
}

function attempt<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch (error) {
    if (error instanceof InputError) return undefined // a template may refuse part of a chat
    throw error
  }
}

/** The special token that closes the turn, with the space before it; "" where none follows. */
function closingToken(after: string, specialTokens: readonly string[]): string {
  const space = after.slice(0, after.length - after.trimStart().length)
  const rest = after.slice(space.length)
  let longest = ""
  for (const token of specialTokens) {
    if (token.length > longest.length && rest.startsWith(token)) longest = token
  }
  return longest === "" ? "" : space + longest
}

/**
 * A closing that the tokenizer does not know as special (a chat template on a base model): what
 * looks like one, and is there too when nothing follows, so that it is not the next message's
 * beginning.
 */
function unknownClosing(
  messages: readonly ChatMessage[],
  message: number,
  after: string,
  render: SpanSearch["render"],
): string {
  const looks = /^\s*<[^<>\s]{1,64}>/.exec(after)?.[0]
  if (looks === undefined) return ""
  const last = withStandIn(messages.slice(0, message + 1), message)
  const alone = attempt(() => render(last, false)) ?? ""
  const at = alone.indexOf(STAND_IN)
  return at >= 0 && alone.startsWith(looks, at + STAND_IN.length) ? looks : ""
}
