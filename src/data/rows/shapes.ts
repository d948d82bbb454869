import type { DataFormat } from "../../config/index.ts"
import { InputError } from "../../errors.ts"
import type { JsonObject } from "../../formats/json.ts"
import type { Sampled } from "./example.ts"
import { extrasOf, withSystem } from "./extras.ts"
import { type Chat, chatMessages, contextKey, joined, needAssistant, turns } from "./messages.ts"
import { type PairReading, preferenceRow } from "./preference.ts"
import { type Question, questionOf, systemOf } from "./questions.ts"
import { text } from "./values.ts"

/** What a shape made of a row, and the keys that it looked at. */
export type ShapeReading = PairReading

export interface ShapeOptions {
  readonly implicitPrompt: boolean
}

export interface Shape {
  readonly format: Exclude<DataFormat, "auto">
  readonly keys: readonly string[]
  readonly read: (row: JsonObject, where: string, options: ShapeOptions) => ShapeReading
}

/** Keys of a question that somebody puts: with a chat model it is a user's turn. */
export const QUESTION_KEYS = ["problem", "question", "query", "instruction", "input"] as const
export const CHAT_KEYS = [
  "messages",
  "conversations",
  "conversation",
  "dialog",
  "dialogue",
] as const

const question = (
  format: Shape["format"],
  key: (typeof QUESTION_KEYS)[number],
  answer: string,
): Shape => ({ format, keys: [key, answer], read: (row, where) => asked(row, key, answer, where) })

/**
 * In the order they are tried. A model's own samples keep the keys of their prompt: completion goes
 * first.
 */
export const SUPERVISED: readonly Shape[] = [
  plain("completion"),
  ...QUESTION_KEYS.map((key) => question("prompt-completion", key, "completion")),
  { format: "prompt-completion", keys: ["messages", "completion"], read: sampledChat },
  ...CHAT_KEYS.map(
    (key): Shape => ({
      format: key === "conversations" || key === "conversation" ? "sharegpt" : "messages",
      keys: [key],
      read: (row, where) => chatRow(row, key, where),
    }),
  ),
  question("alpaca", "instruction", "output"),
  question("alpaca", "instruction", "response"),
  question("problem-solution", "problem", "solution"),
  question("problem-solution", "question", "answer"),
  question("problem-solution", "question", "response"),
  question("problem-solution", "query", "response"),
  question("problem-solution", "query", "answer"),
  plain("response"),
  question("problem-solution", "input", "output"),
  {
    format: "text",
    keys: ["text"],
    read: (row, where) => ({
      example: { kind: "text", text: filledText(row, "text", where) },
      used: ["text"],
    }),
  },
]

export const PREFERENCE: Shape = {
  format: "preference",
  keys: ["chosen", "rejected"],
  read: preferenceRow,
}

function filledText(row: JsonObject, key: string, where: string): string {
  const value = text(row, key, where)
  if (value !== "") return value
  throw new InputError(`${where}: expected "${key}" to say something, got ""`)
}

function chatRow(row: JsonObject, key: string, where: string): ShapeReading {
  const list =
    Array.isArray(row[key]) && isPairs(row[key]) ? pairsOf(row[key], key, where) : undefined
  const { chat, used } = withSystem(list ?? chatMessages(row[key], key, where), row, where)
  needAssistant(chat, key, where)
  const { extras, used: extraKeys } = extrasOf(row, where)
  return {
    example: { kind: "chat", messages: chat.messages, ...contextKey(chat), ...extras },
    used: [key, ...used, ...extraKeys],
  }
}

type TurnPair = { readonly system?: unknown; readonly input: unknown; readonly output: unknown }

/** XTuner's turns hold a question and its answer each. */
const isPairs = (list: readonly unknown[]): list is readonly TurnPair[] =>
  list.length > 0 &&
  list.every(
    (turn) => typeof turn === "object" && turn !== null && "input" in turn && "output" in turn,
  )

function pairsOf(list: readonly TurnPair[], key: string, where: string): Chat {
  const said = list.flatMap(({ system, input, output }) => [
    ...(typeof system === "string" && system !== "" ? [{ role: "system", content: system }] : []),
    ...(input === "" ? [] : [{ role: "user", content: input }]),
    { role: "assistant", content: output },
  ])
  return chatMessages(said, key, where)
}

/** Prompt and completion, as they are written. */
function plain(key: "completion" | "response"): Shape {
  return {
    format: "prompt-completion",
    keys: ["prompt", key],
    read: (row, where) => {
      const prompt = turns(row, "prompt", where)
      const completion = turns(row, key, where)
      const system = systemOf(row, where)
      if (typeof prompt !== "string" || typeof completion !== "string")
        return completedChat(row, { prompt, completion, keys: ["prompt", key] }, where)
      const own = sampledOf(row, key)
      const { extras, used } = extrasOf(row, where)
      return {
        example: {
          kind: "completion",
          prompt,
          completion,
          ...(system === undefined ? {} : { system: system.text }),
          ...extras,
          ...own.sampled,
        },
        used: ["prompt", key, ...own.used, ...used, ...(system === undefined ? [] : [system.key])],
      }
    },
  }
}

/** A question and its answer. */
function asked(row: JsonObject, key: string, answerKey: string, where: string): ShapeReading {
  const completion = turns(row, answerKey, where)
  const keys = [key, answerKey]
  if (typeof row[key] === "object") {
    return completedChat(row, { prompt: turns(row, key, where), completion, keys }, where)
  }
  const question = questionOf(row, key, where)
  const gold = answerKey === "solution" ? ["answer"] : []
  if (question.history.length > 0 || typeof completion !== "string")
    return longQuestion(row, question, { completion, answerKey }, where)
  const system = systemOf(row, where)
  const own = sampledOf(row, answerKey)
  const { extras, used } = extrasOf(row, where)
  return {
    example: {
      kind: "completion",
      prompt: question.text,
      completion,
      question: true,
      ...(system === undefined ? {} : { system: system.text }),
      ...extras,
      ...own.sampled,
    },
    used: [
      ...[...question.used, answerKey, ...own.used, ...used, ...gold],
      ...(system === undefined ? [] : [system.key]),
    ],
  }
}

interface Completed {
  readonly prompt: string | Chat
  readonly completion: string | Chat
  readonly keys: readonly string[]
}

/** A question with turns before it is a chat; a sample of it trains the sample alone. */
function longQuestion(
  row: JsonObject,
  { text: asked, history, used }: Question,
  { completion, answerKey }: { readonly completion: string | Chat; readonly answerKey: string },
  where: string,
): ShapeReading {
  const before: Chat = { messages: [...history, { role: "user", content: asked }], context: [] }
  const keys = [...used, answerKey]
  if (answerKey === "completion")
    return completedChat(row, { prompt: before, completion, keys }, where)
  const said = answerTurns(completion)
  const { chat, used: system } = withSystem(joined(before, said), row, where)
  const { extras, used: extraKeys } = extrasOf(row, where)
  return {
    example: { kind: "chat", messages: chat.messages, ...contextKey(chat), ...extras },
    used: [...keys, ...system, ...extraKeys],
  }
}

const answerTurns = (completion: string | Chat): Chat =>
  typeof completion === "string"
    ? { messages: [{ role: "assistant", content: completion }], context: [] }
    : completion

function completedChat(
  row: JsonObject,
  { prompt, completion, keys }: Completed,
  where: string,
): ShapeReading {
  const before: Chat =
    typeof prompt === "string"
      ? { messages: [{ role: "user", content: prompt }], context: [] }
      : prompt
  const said = answerTurns(completion)
  needAssistant(said, keys.at(-1)!, where)
  const { chat: told, used: system } = withSystem(before, row, where)
  const { extras, used } = extrasOf(row, where)
  const own = sampledOf(row, keys.at(-1)!)
  return {
    example: {
      kind: "completion",
      prompt: told.messages,
      completion: said.messages,
      ...contextKey(joined(told, said)),
      ...extras,
      ...(typeof completion === "string" ? own.sampled : {}),
    },
    used: [...keys, ...system, ...used, ...own.used],
  }
}

/** A chat's own answer is not part of the prompt of another answer. */
function sampledChat(row: JsonObject, where: string): ShapeReading {
  const { messages, context } = chatMessages(row.messages, "messages", where)
  const end = messages.at(-1)!.role === "assistant" ? messages.length - 1 : messages.length
  const prompt: Chat = {
    messages: messages.slice(0, end),
    context: context.filter((index) => index < end),
  }
  const completion = turns(row, "completion", where)
  return completedChat(row, { prompt, completion, keys: ["messages", "completion"] }, where)
}

/** What samples say of themselves; these keys are no news to whoever made them. */
const SAMPLE_KEYS =
  "token_ids logprobs finish_reason seed answer solution gold extracted reason correct".split(" ")
/** The answer ended before the model ended it. */
const CUT_OFF = ["length", "max_tokens", "content_filter"]

function sampledOf(row: JsonObject, answerKey: string) {
  const { token_ids: ids, finish_reason: reason } = row
  const listed = Array.isArray(ids) && ids.length > 0 && ids.every(isTokenId) ? ids : null
  const cutOff = typeof reason === "string" && CUT_OFF.includes(reason)
  if (answerKey !== "completion" || (listed === null && typeof reason !== "string"))
    return { sampled: {}, used: [] }
  const sampled: Sampled = { tokenIds: listed, cutOff }
  return { sampled: { sampled }, used: SAMPLE_KEYS }
}

const isTokenId = (id: unknown): id is number => Number.isSafeInteger(id) && (id as number) >= 0
