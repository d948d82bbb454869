/**
 * Stands in a message's content for a picture, where the message has `pictures`: templates of
 * models with eyes are handed a part for it.
 */
export const PICTURE = "\uFFFC"

export interface ChatMessage {
  readonly role: string
  readonly content: string
  readonly [key: string]: unknown
}

export interface RenderOptions {
  /** Ends where the assistant begins to speak. */
  readonly addGenerationPrompt?: boolean
  readonly tools?: unknown
  /** Further variables that the template reads. */
  readonly variables?: Readonly<Record<string, unknown>>
  /** What `strftime_now` tells a template, in local time; left out: the clock. */
  readonly now?: Date
}

/** What an assistant message says, in UTF-16 units of the rendered text. */
export interface AssistantSpan {
  /** Index of the message. */
  readonly message: number
  /** Where the model begins to speak. */
  readonly start: number
  /** Where what it says ends. */
  readonly end: number
  /** After the token that closes the turn; `end` where there is none. */
  readonly turnEnd: number
  /** Stretches inside that it does not say, such as a tool's result; left out: none. */
  readonly gaps?: readonly (readonly [start: number, end: number])[]
}
