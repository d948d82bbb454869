import type { Supervise } from "../config/index.ts"
import type { AssistantSpan, ChatTemplate, TextEncoding, Tokenizer } from "../text/index.ts"
import type { Message } from "./row-shapes.ts"

const CONTENT = 0
const END_OF_TURN = 1
const TEMPLATE = 2

/** A tokenised sequence before it is cut to length. */
export interface ChatTokens {
  readonly tokenIds: readonly number[]
  readonly lossMask: readonly number[]
  readonly tokenClass: readonly number[]
  /** A message says something that the rendered text does not hold. */
  readonly droppedRole: boolean
}

interface ChatOptions {
  readonly tokenizer: Tokenizer
  readonly template: ChatTemplate
  readonly supervise: Supervise
  /** Messages before this one are context. */
  readonly firstTrained: number
  readonly tools: unknown
}

/** Llama 3's templates write today's date unless told one; this is the date they fall back to. */
const FIXED_VARIABLES = { date_string: "26 Jul 2024" }

/** Half-open, in UTF-16 units of the rendered text. */
type Range = readonly [start: number, end: number]

/**
 * Renders a chat, tokenises it as one text, and marks what the assistant says with the end of turn
 * that closes it. A token that lies partly in what is said is trained: without it the first word
 * would never be learned where the template puts a space before it.
 */
export function chatTokens(
  messages: readonly Message[],
  { tokenizer, template, supervise, firstTrained, tools }: ChatOptions,
): ChatTokens {
  const { text, spans } = template.renderWithSpans(messages, {
    ...(tools === undefined ? {} : { tools }),
    variables: FIXED_VARIABLES,
  })
  const encoding = tokenizer.encodeWithOffsets(text)
  const { ids, starts, ends } = encoding
  const trained = spans.filter(({ message }) => message >= firstTrained)
  const said = supervise === "last" ? trained.slice(-1) : trained
  const lossMask =
    supervise === "all"
      ? ids.map(() => 1)
      : marks(
          encoding,
          said.map(({ start, turnEnd }): Range => [start, turnEnd]),
        )

  const { ranges, droppedRole } = contentRanges(text, messages, spans)
  const isContent = marks(encoding, ranges)
  const isEnd = marks(
    encoding,
    spans.map(({ end, turnEnd }): Range => [end, turnEnd]),
  )
  const closing = new Set(ids.filter((id, t) => isEnd[t] === 1 && tokenizer.addedTokens.has(id)))
  if (tokenizer.eosTokenId !== null) closing.add(tokenizer.eosTokenId)
  const tokenClass = ids.map((id, t) => {
    if (closing.has(id)) return END_OF_TURN
    if (tokenizer.specialTokenIds.has(id)) return TEMPLATE
    if (isContent[t] === 1) return CONTENT
    const says = isEnd[t] === 1 && text.slice(starts[t], ends[t]).trim() !== ""
    return says ? END_OF_TURN : TEMPLATE
  })
  return { tokenIds: ids, lossMask, tokenClass, droppedRole }
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

/** Where the messages stand in the rendered text, and whether one is missing from it. */
function contentRanges(
  text: string,
  messages: readonly Message[],
  spans: readonly AssistantSpan[],
): { readonly ranges: Range[]; readonly droppedRole: boolean } {
  const spanOf = new Map(spans.map((span) => [span.message, span]))
  const ranges: Range[] = []
  let droppedRole = false
  let from = 0
  for (const [i, { content }] of messages.entries()) {
    const said = content.trim()
    const span = spanOf.get(i)
    // what is said without content, such as tool calls, is content as well
    if (span === undefined ? said === "" : span.start === span.end) continue
    const start = span?.start ?? text.indexOf(said, from)
    if (start === -1) {
      // some templates move the system message into the first user turn: look before giving up
      droppedRole ||= !text.includes(said)
      continue
    }
    const end = span?.end ?? start + said.length
    ranges.push([start, end])
    from = end
  }
  return { ranges, droppedRole }
}
