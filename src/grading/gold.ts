import type { JsonObject } from "../formats/json.ts"
import { type Gold, goldString } from "./grader/verdict.ts"

/** Where a row may keep its gold answer, in the order they are looked for. */
export const GOLD_KEYS = ["answer", "gold", "final_answer", "solution"] as const

/** A row's gold answer: a value, or a list of them; undefined where it has none. */
export function goldOf(row: JsonObject): Gold {
  const key = GOLD_KEYS.find((name) => row[name] !== undefined && row[name] !== null)
  if (key === undefined) return undefined
  const value = row[key]
  if (typeof value === "object" && !Array.isArray(value)) return undefined
  return goldString(value as Gold) === undefined ? undefined : (value as Gold)
}
