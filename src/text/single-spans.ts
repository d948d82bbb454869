import type { AssistantSpan, ChatMessage } from "./chat-message.ts"
import type { GenerationStart } from "./generation-start.ts"
import { attempt, callsTools, type SpanSearch, standInFor, unclear } from "./span-search.ts"
import type { TurnClosing } from "./turn-closing.ts"

/**
 * The stand-in takes the place of the content and of tool calls, which the assistant says as well.
 */
function withStandIn(
  messages: readonly ChatMessage[],
  message: number,
  content: string,
): ChatMessage[] {
  return messages.map((sent, i) => {
    if (i !== message) return sent
    return callsTools(sent) ? { role: sent.role, content } : { ...sent, content }
  })
}

/**
 * What one message became in the text, where the template does not tell which stretches are its:
 * the chat is rendered with a stand-in for it alone. What follows the stand-in must be how the text
 * ends, and what comes before it how the text begins, or the generation prompt must be.
 *
 * @throws InputError where this does not hold
 */
export function singleSpan(
  messages: readonly ChatMessage[],
  message: number,
  { text, path, render }: SpanSearch,
  { starts, closing }: { readonly starts: GenerationStart; readonly closing: TurnClosing },
): AssistantSpan {
  const standIn = standInFor(text)
  const other = attempt(() => render(withStandIn(messages, message, standIn), false))
  const parts = other?.split(standIn)
  if (parts?.length !== 2) throw unclear(path, message)
  const [before, after] = parts as [string, string]
  const end = text.length - after.length
  if (!text.endsWith(after)) throw unclear(path, message)
  const start = starts(message, {
    content: text.startsWith(before) ? before.length : null,
    before,
  })
  if (start === undefined || start > end) throw unclear(path, message)
  return { message, start, end, turnEnd: end + closing(message, after).length }
}
