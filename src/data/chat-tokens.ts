import type { Supervise } from "../config/index.ts"
import { InputError } from "../errors.ts"
import { PICTURE } from "../text/chat-message.ts"
import type { AssistantSpan, ChatTemplate, TextEncoding, Tokenizer } from "../text/index.ts"
import type { RowNote } from "./lints.ts"
import type { PlacedPicture } from "./pictures/index.ts"
import { type Conversation, renderedChat } from "./rendered-chat.ts"
import type { Message } from "./rows/index.ts"
import { TOKEN_CLASS } from "./token-class.ts"
import { hasTextArguments, type RenderedChat, unwrittenNotes } from "./unwritten.ts"

/** A tokenised sequence before it is cut to length. */
export interface ChatTokens {
  readonly tokenIds: readonly number[]
  readonly lossMask: readonly number[]
  readonly tokenClass: readonly number[]
  readonly notes: readonly RowNote[]
  /** The answer was cut off, so that it is right that nothing ends it. */
  readonly endsOpen?: true
  /** Once placeholders are expanded. */
  readonly pictures?: readonly PlacedPicture[]
}

interface ChatOptions {
  readonly tokenizer: Tokenizer
  readonly template: ChatTemplate
  readonly supervise: Supervise
  /** Messages before this one are context. */
  readonly firstTrained: number
  /** The last answer was cut off: the text ends with it, and nothing closes it. */
  readonly cutOff: boolean
}

/** Half-open, in UTF-16 units of the rendered text. */
type Range = readonly [start: number, end: number]

/**
 * Renders a chat, tokenises it as one text, and marks what the assistant says with the end of turn
 * that closes it. A token that lies partly in what is said is trained: without it the first word
 * would never be learned where the template puts a space before it.
 */
export function chatTokens(
  conversation: Conversation,
  { tokenizer, template, supervise, firstTrained, cutOff }: ChatOptions,
): ChatTokens {
  const rendered = renderedChat(conversation, template)
  const { messages } = rendered
  const { text, spans } = cutOff ? withoutEnd(rendered) : rendered
  const encoding = tokenizer.encodeWithOffsets(text)
  const { ids, starts, ends } = encoding
  const context = new Set(conversation.context)
  const trained = spans.filter(({ message }) => message >= firstTrained && !context.has(message))
  const said = supervise === "last" ? trained.slice(-1) : trained
  const ranges = contentRanges(text, messages, spans, resultPlaces(rendered))
  const lossMask =
    supervise === "all"
      ? ids.map(() => 1)
      : marks(
          encoding,
          said.map(({ start, turnEnd }): Range => [start, turnEnd]),
        )
  unmark(lossMask, encoding, notSaid({ messages, spans, ranges, context, supervise }))

  const isContent = marks(encoding, apart(ranges.map(({ range }) => range)))
  const isEnd = marks(
    encoding,
    spans.map(({ end, turnEnd }): Range => [end, turnEnd]),
  )
  const closing = new Set(ids.filter((id, t) => isEnd[t] === 1 && tokenizer.addedTokens.has(id)))
  if (tokenizer.eosTokenId !== null) closing.add(tokenizer.eosTokenId)
  const tokenClass = ids.map((id, t) => {
    if (closing.has(id)) return TOKEN_CLASS.endOfTurn
    if (tokenizer.specialTokenIds.has(id)) return TOKEN_CLASS.template
    if (isContent[t] === 1) return TOKEN_CLASS.content
    const says = isEnd[t] === 1 && text.slice(starts[t], ends[t]).trim() !== ""
    return says ? TOKEN_CLASS.endOfTurn : TOKEN_CLASS.template
  })
  const notes = unwrittenNotes(rendered, template)
  if (conversation.messages.some(hasTextArguments)) notes.push("text-arguments")
  const tokens = { tokenIds: ids, lossMask, tokenClass, notes }
  return cutOff ? { ...tokens, endsOpen: true } : tokens
}

/** The text up to the end of the last answer, which nothing closes. */
function withoutEnd({
  text,
  spans,
}: {
  readonly text: string
  readonly spans: readonly AssistantSpan[]
}) {
  const last = spans.at(-1)
  if (last === undefined) return { text, spans }
  return {
    text: text.slice(0, last.end),
    spans: [...spans.slice(0, -1), { ...last, turnEnd: last.end }],
  }
}

interface NotSaid {
  readonly messages: readonly Message[]
  readonly spans: readonly AssistantSpan[]
  readonly ranges: readonly MessageRange[]
  readonly context: ReadonlySet<number>
  readonly supervise: Supervise
}

/**
 * Ranges that no mask covers: what says of itself that it is not to be trained, and a tool's result
 * that a template writes inside the turn of the assistant who called it.
 */
function notSaid({ messages, spans, ranges, context, supervise }: NotSaid): Range[] {
  const own = ranges.flatMap(({ message, range }) => {
    const isResult = !SPEAKERS.includes(messages[message]!.role) && supervise !== "all"
    return isResult || context.has(message) ? [range] : []
  })
  const turns = spans
    .filter(({ message }) => context.has(message))
    .map(({ start, turnEnd }): Range => [start, turnEnd])
  const gaps = supervise === "all" ? [] : spans.flatMap((span) => span.gaps ?? [])
  return [...own, ...turns, ...gaps]
}

function unmark(lossMask: number[], encoding: TextEncoding, ranges: readonly Range[]): void {
  if (ranges.length === 0) return
  const marked = marks(encoding, apart(ranges))
  for (const [t, mark] of marked.entries()) if (mark === 1) lossMask[t] = 0
}

/** The same places as ranges that are ascending and apart from each other. */
function apart(ranges: readonly Range[]): Range[] {
  const joined: Range[] = []
  for (const range of [...ranges].sort(([a], [b]) => a - b)) {
    const last = joined.at(-1)
    if (last !== undefined && range[0] <= last[1])
      joined[joined.length - 1] = [last[0], Math.max(last[1], range[1])]
    else joined.push(range)
  }
  return joined
}

/**
 * [T] 1 where a token shares at least one character with a range. A token of no characters (a
 * prefix space that was put in) belongs to the range it stands at the start of or inside.
 *
 * @param places of the tokens, never going back.
 * @param ranges ascending, apart from each other.
 */
function marks({ starts, ends }: TextEncoding, ranges: readonly Range[]): number[] {
  const marked: number[] = []
  let at = 0
  for (let t = 0; t < starts.length; t++) {
    const start = starts[t]!
    while (at < ranges.length && ranges[at]![1] <= start) at++
    const range = ranges[at]
    marked.push(range !== undefined && Math.max(ends[t]!, start + 1) > range[0] ? 1 : 0)
  }
  return marked
}

interface MessageRange {
  readonly message: number
  readonly range: Range
}

const SPEAKERS = ["assistant", "user", "system", "developer"]

/**
 * Where the results of tools begin in the text. A template may write them inside the turn of the
 * assistant who called, and the same words may stand in the call: marks in their place tell.
 */
function resultPlaces({ messages, text, again }: RenderedChat): ReadonlyMap<number, number> {
  const places = new Map<number, number>()
  const isResult = ({ role, content }: Message) => !SPEAKERS.includes(role) && content.trim() !== ""
  if (!messages.some(isResult)) return places
  let marked: string
  try {
    marked = again(messages.map((m, i) => (isResult(m) ? { ...m, content: `result${i}mark` } : m)))
  } catch (error) {
    if (error instanceof InputError) return places // a template that reads the results themselves
    throw error
  }
  let shift = 0
  for (const { 0: found, 1: index, index: at } of marked.matchAll(/result(\d+)mark/g)) {
    const said = messages[Number(index)]?.content.trim() ?? ""
    if (!text.startsWith(said, at + shift)) return places
    places.set(Number(index), at + shift)
    shift += said.length - found.length
  }
  return places
}

/** Positions of the messages in the rendered text. Messages that are not found are left out. */
function contentRanges(
  text: string,
  messages: readonly Message[],
  spans: readonly AssistantSpan[],
  results: ReadonlyMap<number, number>,
): MessageRange[] {
  const spanOf = new Map(spans.map((span) => [span.message, span]))
  const ranges: MessageRange[] = []
  let from = 0
  for (const [i, { content }] of messages.entries()) {
    const span = spanOf.get(i)
    const parts = messages[i]!.pictures === undefined ? [content] : content.split(PICTURE)
    for (const said of parts.map((part) => part.trim())) {
      // what is said without content, such as tool calls, is content as well
      if (span === undefined ? said === "" : span.start === span.end) continue
      const start = span?.start ?? results.get(i) ?? text.indexOf(said, from)
      if (start === -1) continue
      const end = span?.end ?? start + said.length
      ranges.push({ message: i, range: [start, end] })
      from = Math.max(from, end)
    }
  }
  return ranges
}
