import type { ChatMessage } from "./chat-message.ts"
import { attempt, isAssistant, type SpanSearch } from "./span-search.ts"

/** What is known of a message's place in the text. */
export interface MessagePlace {
  /** Where its content begins; null: not told. */
  readonly content: number | null
  /** What stands before the content, as far as that is known. */
  readonly before: string
  /** Where the template begins to write for it; left out: not told. */
  readonly region?: number
}

/** Where the model begins to speak in a message; undefined where nothing tells. */
export type GenerationStart = (message: number, place: MessagePlace) => number | undefined

/** What stands behind the last time that a text holds another; undefined where it never does. */
function textBehind(text: string, part: string): string | undefined {
  const at = text.lastIndexOf(part)
  return at < 0 ? undefined : text.slice(at + part.length)
}

/**
 * Where the model begins to speak in a message: behind the generation prompt, or where the content
 * begins. What stands between the two is the model's to write, unless it is space.
 */
export function generationStart(
  messages: readonly ChatMessage[],
  { text, render }: SpanSearch,
): GenerationStart {
  const promptOf = (message: number) => {
    const context = messages.slice(0, message)
    const prompted = attempt(() => render(context, true))
    const plain = attempt(() => render(context, false))
    // a template that ignores the flag says nothing about where the model begins
    return prompted === plain ? undefined : { prompted, plain }
  }
  let usual: string | null | undefined
  /** What asking adds to the chat before its first answer; null where that is not told. */
  const usualPrompt = () => {
    if (usual !== undefined) return usual
    const first = promptOf(messages.findIndex(isAssistant))
    const { prompted, plain } = first ?? {}
    const adds = plain !== undefined && prompted?.startsWith(plain)
    usual = first === undefined ? "" : adds ? prompted!.slice(plain!.length) : null
    return usual
  }
  return (message, { content, before, region }) => {
    if (content !== null) {
      // without this the whole chat would be rendered again for each of its messages
      const adds = usualPrompt()
      const behind = adds === null ? undefined : textBehind(before, adds.trim())
      if (behind?.trim() === "") return content
      const rest = adds === null ? undefined : textBehind(before, adds)
      if (rest !== undefined) return content - rest.length
    } else if (region !== undefined) {
      const adds = usualPrompt()
      if (adds === "") return undefined
      if (adds !== null && text.startsWith(adds, region)) return region + adds.length
    }
    const prompt = promptOf(message)?.prompted
    const fits = (prefix: string | undefined): prefix is string =>
      prefix !== undefined && text.startsWith(prefix)
    if (content !== null) {
      const rest =
        fits(prompt) && prompt.length <= content ? text.slice(prompt.length, content) : ""
      return rest.trim() === "" ? content : prompt!.length
    }
    return [prompt, prompt?.trimEnd()].find(fits)?.length
  }
}
