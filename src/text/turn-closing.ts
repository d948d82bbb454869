import type { ChatMessage } from "./chat-message.ts"
import { attempt, callsTools, type SpanSearch, standInFor } from "./span-search.ts"

/** What closes a turn, given the text behind what is said in it; "" where nothing does. */
export type TurnClosing = (message: number, rest: string) => string

/** Texts that end a turn. A base model's tokenizer does not mark them as special. */
const LOOKS_CLOSING = /^\s*<[^<>\s]{1,64}>/

/** The special token that a text begins with, with the space before it; "" where none is there. */
function firstToken(rest: string, specialTokens: readonly string[]): string {
  const space = rest.slice(0, rest.length - rest.trimStart().length)
  const after = rest.slice(space.length)
  let longest = ""
  for (const token of specialTokens) {
    if (token.length > longest.length && after.startsWith(token)) longest = token
  }
  return longest === "" ? "" : space + longest
}

/**
 * Tells what closes turns: a special token, or what looks like one and is there too when nothing
 * follows, so that it is not the next message's beginning.
 */
export function turnClosing(
  messages: readonly ChatMessage[],
  { text, specialTokens, render }: SpanSearch,
): TurnClosing {
  const standIn = standInFor(text)
  const known = new Map<string, boolean>()
  const closesAlone = (message: number, looks: string) => {
    const sent = messages[message]!
    const said = { ...(callsTools(sent) ? { role: sent.role } : sent), content: standIn }
    const alone = attempt(() => render([...messages.slice(0, message), said], false))?.split(
      standIn,
    )[1]
    return alone?.startsWith(looks) ?? false
  }
  return (message, rest) => {
    const special = firstToken(rest, specialTokens)
    if (special !== "") return special
    const looks = LOOKS_CLOSING.exec(rest)?.[0]
    if (looks === undefined) return ""
    const closes = known.get(looks) ?? closesAlone(message, looks)
    known.set(looks, closes)
    return closes ? looks : ""
  }
}
