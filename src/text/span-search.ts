import { InputError } from "../errors.ts"
import type { ChatMessage } from "./chat-message.ts"
import type { Marks } from "./jinja/scope.ts"
import type { Rendered } from "./jinja/template.ts"

/** A chat's rendering, and the means to ask for others. */
export interface SpanSearch {
  readonly text: string
  /** Of the template, for messages. */
  readonly path: string
  readonly specialTokens: readonly string[]
  readonly render: (messages: readonly ChatMessage[], addGenerationPrompt: boolean) => string
  /** With the message that each stretch of the text is about. */
  readonly traced: (messages: readonly ChatMessage[]) => Rendered
  /** With marks around the template's generation blocks. */
  readonly marked: (messages: readonly ChatMessage[], marks: Marks) => string
}

export const isAssistant = ({ role }: ChatMessage): boolean =>
  role === "assistant" || role === "model"

/** Such a message says more than its content. */
export const callsTools = ({ tool_calls }: ChatMessage): boolean =>
  Array.isArray(tool_calls) && tool_calls.length > 0

/** Private-use characters, which templates pass through, that a text does not hold. */
export function freshCharacters(text: string, count: number): string[] {
  const fresh: string[] = []
  for (let code = 0xe0f0; fresh.length < count; code++) {
    const char = String.fromCharCode(code)
    if (!text.includes(char)) fresh.push(char)
  }
  return fresh
}

/** A text that stands for a message's own, and that nothing else holds. */
export function standInFor(text: string): string {
  const [open, between] = freshCharacters(text, 2)
  return `${open}stand${between}in${open}`
}

/** undefined where a template refuses: it may refuse part of a chat. */
export function attempt<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch (error) {
    if (error instanceof InputError) return undefined
    throw error
  }
}

export const unclear = (path: string, message: number): InputError =>
  new InputError(
    `${path}: cannot tell what the template makes of message ${message + 1} (assistant); ` +
      "put {% generation %} and {% endgeneration %} around what the assistant says",
  )
