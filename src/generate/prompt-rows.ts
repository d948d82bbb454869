import { InputError } from "../errors.ts"
import { describeValue, isObject, type JsonObject, parseJson } from "../formats/json.ts"
import type { PromptMessage, SampleRequest } from "./sample-source.ts"

/** A row of a prompts file: what is asked, and all its fields, which the samples keep. */
export interface PromptRow {
  /** file:line, for errors. */
  readonly where: string
  readonly fields: JsonObject
  readonly prompt: SampleRequest["prompt"]
}

const KEYS = ["prompt", "messages", "problem", "question"] as const

function messagesOf(value: readonly unknown[], where: string, key: string): PromptMessage[] {
  const messages = value.map((message, i) => {
    if (isObject(message) && typeof message.role === "string") {
      if (typeof message.content === "string") return message as unknown as PromptMessage
    }
    throw new InputError(
      `${where}: expected "${key}"[${i}] to be {"role", "content"} with texts, ` +
        `got ${describeValue(message)}`,
    )
  })
  // Training rows hold the answer too: what is sampled takes its place.
  while (messages.at(-1)?.role === "assistant") messages.pop()
  if (messages.length > 0) return messages
  throw new InputError(`${where}: expected "${key}" to hold a message that is not the assistant's`)
}

function promptOf(fields: JsonObject, where: string): SampleRequest["prompt"] {
  for (const key of KEYS) {
    const value = fields[key]
    if (value === undefined || value === null) continue
    if (Array.isArray(value) && (key === "prompt" || key === "messages")) {
      return messagesOf(value, where, key)
    }
    if (typeof value === "string" && key !== "messages") return value
    const expected = key === "messages" ? "a list of messages" : "text"
    throw new InputError(
      `${where}: expected "${key}" to be ${expected}, got ${describeValue(value)}`,
    )
  }
  const came = Object.keys(fields).slice(0, 8).join(", ") || "no keys"
  throw new InputError(`${where}: expected one of ${KEYS.join(", ")}; the row has ${came}`)
}

/**
 * The rows of a JSONL file: `prompt` (text, used as it is; or messages, which go through the
 * model's template), `messages` (a closing answer of the assistant is left out), `problem` or
 * `question`.
 *
 * @throws InputError naming file and line
 */
export function promptRows(text: string, file: string): PromptRow[] {
  const rows: PromptRow[] = []
  for (const [i, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue
    const where = `${file}:${i + 1}`
    const fields = parseJson(line, where)
    if (!isObject(fields)) {
      throw new InputError(`${where}: expected an object, got ${describeValue(fields)}`)
    }
    rows.push({ where, fields, prompt: promptOf(fields, where) })
  }
  if (rows.length === 0) throw new InputError(`${file}: expected at least one row, found none`)
  return rows
}
