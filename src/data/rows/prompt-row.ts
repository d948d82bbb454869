import { InputError } from "../../errors.ts"
import { describeValue, type JsonObject } from "../../formats/json.ts"
import { type Columns, renamed } from "./columns.ts"
import type { Example, Message } from "./example.ts"
import { extrasOf, withSystem } from "./extras.ts"
import { refuseMedia } from "./media.ts"
import { chatMessages } from "./messages.ts"
import { questionOf, systemOf } from "./questions.ts"
import { rowReading } from "./read-row.ts"
import { CHAT_KEYS, QUESTION_KEYS } from "./shapes.ts"
import { has, shownKeys, text } from "./values.ts"

/** What a row asks, whether or not an answer stands beside it. */
export type RowPrompt = Omit<
  Extract<Example, { readonly kind: "completion" }>,
  "kind" | "completion" | "sampled"
>

export interface PromptRowOptions {
  readonly columns?: Columns
  /** `file:line`, for messages. */
  readonly where: string
  /** Told first, as a row's own `system` is, to rows that have none. */
  readonly system?: string | undefined
}

const KEYS = ["prompt", ...CHAT_KEYS, ...QUESTION_KEYS]

/**
 * Reads what a row asks: of a training row, exactly what precedes its answer in training; else
 * `prompt`, messages (a closing answer of the assistant is left out) or a question.
 *
 * @throws InputError naming the row and what was expected
 */
export function readPrompt(
  given: JsonObject,
  { columns = {}, where, system }: PromptRowOptions,
): RowPrompt {
  const known = Object.values(columns).every((column) => column === null || has(given, column))
  const names = known ? columns : {}
  const isTold = system === undefined || systemOf(renamed(given, names, where), where) !== undefined
  const row = isTold ? given : { ...given, system }
  const read = renamed(row, names, where)
  refuseMedia(read, { columns, pictures: false, where })
  return trainedPrompt(row, names, where) ?? promptAlone(read, where)
}

function trainedPrompt(row: JsonObject, columns: Columns, where: string): RowPrompt | undefined {
  let example: Example
  try {
    const options = { format: "auto", purpose: "supervised", columns, where } as const
    example = rowReading(row, options).example
  } catch (error) {
    if (error instanceof InputError) return undefined // no training row: read as a prompt alone
    throw error
  }
  if (example.kind === "completion") {
    const { kind: _kind, completion: _completion, sampled: _sampled, ...prompt } = example
    return prompt
  }
  if (example.kind !== "chat") return undefined
  const { kind: _kind, messages, ...extras } = example
  return { ...extras, prompt: withoutAnswer(messages, "messages", where) }
}

function promptAlone(row: JsonObject, where: string): RowPrompt {
  const key = KEYS.find((name) => has(row, name))
  if (key === undefined) {
    throw new InputError(
      `${where}: expected one of ${KEYS.join(", ")}; the row has ${shownKeys(row)}`,
    )
  }
  const { extras } = extrasOf(row, where)
  const value = row[key]
  if (Array.isArray(value) || (CHAT_KEYS as readonly string[]).includes(key)) {
    if (!Array.isArray(value) && typeof value !== "string") {
      throw new InputError(
        `${where}: expected "${key}" to be a list of messages, got ${describeValue(value)}`,
      )
    }
    const { chat } = withSystem(chatMessages(value, key, where), row, where)
    return { prompt: withoutAnswer(chat.messages, key, where), ...extras }
  }
  const system = systemOf(row, where)
  const told = system === undefined ? {} : { system: system.text }
  if (key === "prompt") return { prompt: text(row, key, where), ...told, ...extras }
  const question = questionOf(row, key, where)
  if (question.history.length === 0)
    return { prompt: question.text, question: true, ...told, ...extras }
  const asked = [...question.history, { role: "user", content: question.text }]
  const { chat } = withSystem({ messages: asked, context: [] }, row, where)
  return { prompt: chat.messages, ...extras }
}

/** Training rows hold the answer too: what is sampled takes its place. */
function withoutAnswer(messages: readonly Message[], key: string, where: string): Message[] {
  const end = messages.findLastIndex(({ role }) => role !== "assistant")
  if (end >= 0) return messages.slice(0, end + 1)
  throw new InputError(`${where}: expected "${key}" to hold a message that is not the assistant's`)
}
