import type { AssistantSpan, ChatMessage } from "./chat-message.ts"
import { type GenerationStart, generationStart } from "./generation-start.ts"
import type { Piece } from "./jinja/scope.ts"
import type { Rendered } from "./jinja/template.ts"
import { singleSpan } from "./single-spans.ts"
import {
  attempt,
  callsTools,
  isAssistant,
  type SpanSearch,
  standInFor,
  unclear,
} from "./span-search.ts"
import { type TurnClosing, turnClosing } from "./turn-closing.ts"

/** What the template wrote with a message at hand: from its first word to its last. */
interface Region {
  readonly start: number
  readonly end: number
  /** What it wrote in between with another message at hand, such as a tool's result. */
  readonly others: readonly Piece[]
}

function regionsOf({ pieces }: Rendered): ReadonlyMap<number, Region> {
  const ends = new Map<number, { first: number; last: number }>()
  for (const [i, { message }] of pieces.entries()) {
    if (message === null) continue
    const known = ends.get(message)
    if (known === undefined) ends.set(message, { first: i, last: i })
    else known.last = i
  }
  return new Map(
    Array.from(ends, ([message, { first, last }]) => {
      const inside = last - first > 1 ? pieces.slice(first + 1, last) : []
      const others = inside.filter((piece) => piece.message !== null && piece.message !== message)
      return [message, { start: pieces[first]!.start, end: pieces[last]!.end, others }]
    }),
  )
}

/**
 * How a template frames what a message says: `before` and `after` stand around it in its region.
 */
interface Frame {
  readonly before: string
  readonly after: string
}

/**
 * What each assistant message became in the text, for templates without generation blocks. The chat
 * is rendered once more with a stand-in for what each assistant message says: what stands around
 * the stand-ins must be what stands around the messages. Where a template writes more of a message
 * than its content (its reasoning, its calls), what follows the generation prompt is said.
 *
 * @throws InputError where this does not hold: a wrong mask is worse than none
 */
export function finishedSpans(
  messages: readonly ChatMessage[],
  search: SpanSearch,
): AssistantSpan[] {
  const said = messages.flatMap((message, i) => (isAssistant(message) ? [i] : []))
  const regions = attempt(() => search.traced(messages))
  const known = regions === undefined ? new Map<number, Region>() : regionsOf(regions)
  const frames = framesOf(messages, said, known, search)
  const callFrame = callFrames(messages, search)
  const means = {
    search,
    starts: generationStart(messages, search),
    closing: turnClosing(messages, search),
  }
  const spans: AssistantSpan[] = []
  let from = 0
  for (const message of said) {
    const region = known.get(message)
    const calls = callsTools(messages[message]!)
    const frame = calls ? callFrame(message) : frames?.get(message)
    const span =
      region === undefined || frame === undefined
        ? singleSpan(messages, message, search, means)
        : (calls ? callSpan : framedSpan)(message, region, frame, means)
    if (span === undefined || span.start < from) throw unclear(search.path, message)
    from = span.turnEnd
    spans.push(span)
  }
  return spans
}

/**
 * The frames of the messages that call no tools; undefined where the rendering with stand-ins
 * differs from the chat's own in anything else.
 */
function framesOf(
  messages: readonly ChatMessage[],
  said: readonly number[],
  regions: ReadonlyMap<number, Region>,
  { text, traced }: SpanSearch,
): ReadonlyMap<number, Frame> | undefined {
  const standIn = standInFor(text)
  const replaced = said.filter((i) => !callsTools(messages[i]!) && regions.has(i))
  const others = attempt(() => traced(withContent(messages, new Set(replaced), standIn)))
  if (others === undefined) return undefined
  const variants = regionsOf(others)
  const frames = new Map<number, Frame>()
  let [from, at] = [0, 0]
  for (const message of replaced) {
    const [region, variant] = [regions.get(message)!, variants.get(message)]
    if (
      variant === undefined ||
      text.slice(from, region.start) !== others.text.slice(at, variant.start)
    ) {
      return undefined
    }
    const parts = others.text.slice(variant.start, variant.end).split(standIn)
    if (parts.length !== 2) return undefined
    frames.set(message, { before: parts[0]!, after: parts[1]! })
    ;[from, at] = [region.end, variant.end]
  }
  return text.slice(from) === others.text.slice(at) ? frames : undefined
}

const withContent = (
  messages: readonly ChatMessage[],
  which: ReadonlySet<number>,
  content: string,
): ChatMessage[] => messages.map((m, i) => (which.has(i) ? { ...m, content } : m))

/**
 * How a message that calls tools would be framed if it said a text instead: as in the whole chat,
 * or, where that is refused without the calls, as the chat's last message.
 */
function callFrames(messages: readonly ChatMessage[], { text, traced }: SpanSearch) {
  const standIn = standInFor(text)
  const plain = (sent: ChatMessage) =>
    callsTools(sent) ? { role: sent.role, content: standIn } : sent
  const framed = (others: readonly ChatMessage[]) => {
    const rendered = attempt(() => traced(others))
    if (rendered === undefined) return undefined
    const regions = regionsOf(rendered)
    return (message: number): Frame | undefined => {
      const region = regions.get(message)
      const parts = region && rendered.text.slice(region.start, region.end).split(standIn)
      return parts?.length === 2 ? { before: parts[0]!, after: parts[1]! } : undefined
    }
  }
  let whole: ReturnType<typeof framed> | null = null
  const alone: (Frame | undefined)[] = []
  return (message: number): Frame | undefined => {
    if (whole === null) whole = framed(messages.map(plain))
    const found = whole?.(message)
    if (found !== undefined) return found
    // in a long chat of calls all are framed alike; the text is held to the frame in any case
    if (alone.length >= ALIKE && alone.every((frame) => sameFrame(frame, alone[0]))) return alone[0]
    const frame = framed([...messages.slice(0, message), plain(messages[message]!)])?.(message)
    alone.push(frame)
    return frame
  }
}

const ALIKE = 3
const sameFrame = (one: Frame | undefined, other: Frame | undefined) =>
  one?.before === other?.before && one?.after === other?.after

interface Means {
  readonly search: SpanSearch
  readonly starts: GenerationStart
  readonly closing: TurnClosing
}

/** What stands in the message's frame. */
function framedSpan(
  message: number,
  region: Region,
  { before, after }: Frame,
  { search, starts, closing }: Means,
): AssistantSpan | undefined {
  const { text } = search
  const end = region.end - after.length
  if (region.others.length > 0 || !text.slice(region.start, region.end).endsWith(after)) {
    return undefined
  }
  const isFramed = text.startsWith(before, region.start)
  const start = starts(message, {
    content: isFramed ? region.start + before.length : null,
    before,
    region: region.start,
  })
  if (start === undefined || start > end) return undefined
  return { message, start, end, turnEnd: end + closing(message, text.slice(end)).length }
}

/**
 * All that is written for a message that calls tools, from where it begins to speak. It may end in
 * its own way, and tools' results may be written in the midst of it.
 */
function callSpan(
  message: number,
  region: Region,
  { before, after }: Frame,
  { search, starts, closing }: Means,
): AssistantSpan | undefined {
  const { text, specialTokens } = search
  const isFramed = text.startsWith(before, region.start)
  const begins = isFramed
    ? region.start + before.length
    : before.trim() === ""
      ? region.start
      : null
  const start =
    starts(message, { content: begins, before, region: region.start }) ??
    behindHeader(text, region.start, before)
  if (start === undefined || start > region.end) return undefined
  const gaps = region.others
    .filter((piece) => piece.start >= start)
    .map((piece) => [piece.start, piece.end] as const)
  const told = { message, start, ...(gaps.length === 0 ? {} : { gaps }) }
  const said = text.slice(start, region.end)
  if (after !== "" && said.endsWith(after)) {
    const end = region.end - after.length
    return { ...told, end, turnEnd: end + closing(message, text.slice(end)).length }
  }
  const turnEnd = start + said.trimEnd().length
  const last = lastToken(text.slice(start, turnEnd), specialTokens)
  if (last !== "") return { ...told, end: turnEnd - last.length, turnEnd }
  const behind = closing(message, text.slice(turnEnd))
  return { ...told, end: turnEnd, turnEnd: turnEnd + behind.length }
}

/**
 * Behind the tags and lines that begin both what is said with calls and what is said without: their
 * header, in a template without a generation prompt.
 */
function behindHeader(text: string, start: number, before: string): number | undefined {
  const ends = Array.from(before.matchAll(/[>\n]/g), ({ index }) => index + 1)
  const header = ends.findLast((end) => text.startsWith(before.slice(0, end), start))
  return header === undefined ? undefined : start + header
}

/** The special token that a text ends with, with the space before it. */
function lastToken(whole: string, specialTokens: readonly string[]): string {
  const token = specialTokens
    .filter((one) => one !== "" && whole.endsWith(one))
    .reduce((longest, one) => (one.length > longest.length ? one : longest), "")
  if (token === "") return ""
  return whole.slice(whole.slice(0, whole.length - token.length).trimEnd().length)
}
