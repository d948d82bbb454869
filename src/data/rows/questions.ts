import { InputError } from "../../errors.ts"
import { describeValue, type JsonObject } from "../../formats/json.ts"
import type { Message } from "./example.ts"
import { chatMessages } from "./messages.ts"
import { firstText, has, jsonValue, text, textValue } from "./values.ts"

/** A question with what a row gives to answer it by. */
export interface Question {
  readonly text: string
  /** Turns before it, in order. */
  readonly history: readonly Message[]
  readonly used: readonly string[]
}

/**
 * The question under `key`. An instruction is followed by its `input` and `context` (Dolly), other
 * questions follow their `context`; all are joined by newlines, as LLaMA-Factory joins them.
 */
export function questionOf(row: JsonObject, key: string, where: string): Question {
  const asked = text(row, key, where)
  const used = [key]
  const given: string[] = []
  for (const name of key === "instruction" ? ["input", "context"] : ["context"]) {
    const said = givenText(row, name, where)
    if (said === undefined) continue
    used.push(name)
    if (said !== "") given.push(said)
  }
  const parts = key === "instruction" ? [asked, ...given] : [...given, asked]
  const history = has(row, "history") ? historyOf(row.history, where) : []
  if (history.length > 0) used.push("history")
  return { text: parts.filter((part) => part !== "").join("\n"), history, used }
}

/** Text, or a list of texts; undefined for what cannot be put into a prompt. */
function givenText(row: JsonObject, key: string, where: string): string | undefined {
  const value = row[key]
  if (typeof value === "string") return textValue(value, key, where)
  if (Array.isArray(value) && value.every((part) => typeof part === "string"))
    return textValue(value.join("\n"), key, where)
  return undefined
}

/** Earlier turns: pairs of question and answer (LLaMA-Factory, ms-swift), or messages. */
function historyOf(given: unknown, where: string): readonly Message[] {
  const value = jsonValue(given === "" ? [] : given, "history", where)
  if (!Array.isArray(value)) {
    throw new InputError(
      `${where}: expected "history" to be a list of [question, answer], got ${describeValue(value)}`,
    )
  }
  if (value.length === 0) return []
  if (!value.every(Array.isArray)) return chatMessages(value, "history", where).messages
  return value.flatMap((pair: readonly unknown[], i) => {
    if (pair.length !== 2) {
      throw new InputError(
        `${where}: expected "history[${i}]" to be [question, answer], got ${describeValue(pair)}`,
      )
    }
    return pair.map((said, side) => ({
      role: side === 0 ? "user" : "assistant",
      content: textValue(said, `history[${i}][${side}]`, where),
    }))
  })
}

/** What the model is told before the conversation. */
export function systemOf(
  row: JsonObject,
  where: string,
): { readonly key: string; readonly text: string } | undefined {
  return firstText(row, ["system", "system_prompt"], where)
}
