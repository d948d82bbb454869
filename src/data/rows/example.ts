import type { PictureSource } from "../pictures/picture.ts"

/**
 * A message of a chat; keys beyond these (tool_calls, name, ...) go to the template as they are.
 */
export interface Message {
  readonly role: string
  readonly content: string
  /** In the order of their places in the content (`PICTURE`). */
  readonly pictures?: readonly PictureSource[]
  readonly [key: string]: unknown
}

/** A prompt or completion: a plain string, or messages for the chat template. */
export type Turns = string | readonly Message[]

/** What a model's own sample says of itself (`dftune generate`). */
export interface Sampled {
  readonly tokenIds: readonly number[] | null
  /** The answer was cut off: its end of turn was never sampled. */
  readonly cutOff: boolean
}

/** What a chat may have beside its messages. */
interface ChatExtras {
  readonly tools?: unknown
  /** Further variables of the template (`chat_template_kwargs`). */
  readonly variables?: Readonly<Record<string, unknown>>
  /** Messages, by index, that say they are not to be trained: context only. */
  readonly context?: readonly number[]
}

/** A row of a data file, whatever its shape was. */
export type Example =
  /** A whole chat: what every assistant message says may be trained. */
  | ({ readonly kind: "chat"; readonly messages: readonly Message[] } & ChatExtras)
  /** Only the completion is trained. Both parts are strings, or both are messages. */
  | ({
      readonly kind: "completion"
      readonly prompt: Turns
      readonly completion: Turns
      /**
       * The prompt is a question put to somebody: with `template: auto` it becomes a user's turn.
       */
      readonly question?: true
      readonly system?: string
      readonly sampled?: Sampled
    } & ChatExtras)
  /** Everything is trained. */
  | { readonly kind: "text"; readonly text: string }
  | ({
      readonly kind: "preference"
      readonly prompt: Turns
      readonly chosen: Turns
      readonly rejected: Turns
      /** As of a completion. */
      readonly question?: true
      readonly system?: string
    } & Omit<ChatExtras, "context">)

type Said = Exclude<Example, { readonly kind: "text" }>

/** What a row answers beside what is asked: of a whole chat nothing, of a pair both sides. */
export function answersOf(example: Said): readonly Turns[] {
  if (example.kind === "chat") return []
  return example.kind === "completion" ? [example.completion] : [example.chosen, example.rejected]
}

/** All messages of a row, whoever says them; texts that are no messages are left out. */
export function messagesOf(example: Example): readonly Message[] {
  if (example.kind === "text") return []
  if (example.kind === "chat") return example.messages
  return [example.prompt, ...answersOf(example)].flatMap((turns) =>
    typeof turns === "string" ? [] : turns,
  )
}

/**
 * What the rows are for; it decides which shape a row with several shapes has: answers to imitate,
 * pairs of a better and a worse one, answers labelled good or bad, answers with a reward, pairs
 * with the margin between them.
 */
export type Purpose = "supervised" | "preference" | "labels" | "rewards" | "scores"

/** Whether a row is two sequences: the chosen and the rejected one. */
export const isPaired = (purpose: Purpose): boolean =>
  purpose === "preference" || purpose === "scores"
