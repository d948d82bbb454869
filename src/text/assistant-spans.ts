import { InputError } from "../run/errors.ts"
import type { AssistantSpan, ChatMessage } from "./chat-template.ts"

/** Characters of the private-use area: no tokenizer and no text has them, templates pass them through. */
const OPEN = "\uE0F0"
const CLOSE = "\uE0F1"
const STAND_IN = "\uE0F2stand\uE0F3in\uE0F2"

const isAssistant = ({ role }: ChatMessage) => role === "assistant" || role === "model"

/**
 * The template with its `{% generation %}` blocks turned into marks in the text; undefined where it
 * has none. Whitespace control stays on the tags that remain.
 */
export function markedSource(source: string): string | undefined {
  // A block tag takes the spaces before it on its line and the newline after it along.
  const tag = /(?:^[ \t]*)?\{%(-?)\s*(end)?generation\s*(-?)%\}\n?/gm
  if (!tag.test(source)) return undefined
  return source.replace(tag, (_, before: string, end: string | undefined, after: string) => {
    return `{{${before} "${end ? CLOSE : OPEN}" ${after}}}`
  })
}

/** The spans between the marks; the text without them must be the plain rendering. */
export function generationSpans(
  marked: string,
  messages: readonly ChatMessage[],
  { text, path }: { readonly text: string; readonly path: string },
): AssistantSpan[] {
  const said = messages.flatMap((message, i) => (isAssistant(message) ? [i] : []))
  const ranges: { start: number; end: number }[] = []
  let plain = ""
  let start = -1
  for (const part of marked.split(new RegExp(`([${OPEN}${CLOSE}])`))) {
    if (part === OPEN) start = plain.length
    else if (part === CLOSE) ranges.push({ start, end: plain.length })
    else plain += part
  }
  if (plain !== text || ranges.length !== said.length) {
    throw new InputError(
      `${path}: its {% generation %} blocks do not enclose each assistant message once ` +
        `(${ranges.length} blocks for ${said.length} messages)`,
    )
  }
  return ranges.map(({ start, end }, i) => {
    const message = said[i]!
    // The block holds the end of turn as well: content ends where the message's own text does.
    const own = messages[message]!.content.trim()
    const at = own === "" ? -1 : text.lastIndexOf(own, end - own.length)
    const contentEnd = at >= start ? at + own.length : end
    return { message, start, end: contentEnd, turnEnd: end }
  })
}

export interface SpanSearch {
  readonly text: string
  readonly path: string
  readonly specialTokens: readonly string[]
  readonly render: (messages: readonly ChatMessage[], addGenerationPrompt: boolean) => string
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
  for (const [message, { role, content }] of messages.entries()) {
    if (!isAssistant({ role, content })) continue
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

function messageSpan(
  messages: readonly ChatMessage[],
  message: number,
  { text, path, specialTokens, render }: SpanSearch,
): AssistantSpan {
  const replaced = messages.map((m, i) => (i === message ? { ...m, content: STAND_IN } : m))
  const other = render(replaced, false)
  const at = other.indexOf(STAND_IN)
  if (at < 0 || other.indexOf(STAND_IN, at + 1) >= 0) throw unclear(path, message)
  const before = other.slice(0, at)
  const after = other.slice(at + STAND_IN.length)
  const end = text.length - after.length
  if (!text.endsWith(after)) throw unclear(path, message)

  const start = beginning(messages, message, { text, before, render })
  if (start === undefined || start > end) throw unclear(path, message)
  return { message, start, end, turnEnd: end + closingLength(after, specialTokens) }
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
  const prompt = attempt(() => render(messages.slice(0, message), true))
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

/** Length of the special token that closes the turn, with the space before it; 0 where none follows. */
function closingLength(after: string, specialTokens: readonly string[]): number {
  const space = after.length - after.trimStart().length
  const rest = after.slice(space)
  let longest = 0
  for (const token of specialTokens) {
    if (token !== "" && rest.startsWith(token)) longest = Math.max(longest, token.length)
  }
  return longest === 0 ? 0 : space + longest
}
