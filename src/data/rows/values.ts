import { InputError } from "../../errors.ts"
import { parseExactJson } from "../../formats/exact-json.ts"
import { describeValue, isObject, type JsonObject } from "../../formats/json.ts"

/** A key is there and says something other than null. */
export const has = (row: JsonObject, key: string): boolean =>
  row[key] !== undefined && row[key] !== null

/** Half of a surrogate pair cannot be written as UTF-8: the tokens would say something else. */
export function wellFormed(value: string, key: string, where: string): string {
  if (!/\p{Surrogate}/u.test(value)) return value
  throw new InputError(
    `${where}: "${key}" holds half of a surrogate pair, which is not Unicode text`,
  )
}

export function textValue(value: unknown, key: string, where: string): string {
  if (typeof value === "string") return wellFormed(value, key, where)
  throw new InputError(`${where}: expected "${key}" to be text, got ${describeValue(value)}`)
}

export const text = (row: JsonObject, key: string, where: string): string =>
  textValue(row[key], key, where)

/** The text under the first of `keys` that says something. */
export function firstText(
  row: JsonObject,
  keys: readonly string[],
  where: string,
): { readonly key: string; readonly text: string } | undefined {
  const key = keys.find((name) => has(row, name) && row[name] !== "")
  return key === undefined ? undefined : { key, text: text(row, key, where) }
}

/**
 * A list or an object that a data set keeps as JSON text (in a CSV, in a parquet column); other
 * values as they are.
 *
 * @throws InputError for text that begins like one and is not JSON
 */
export function jsonValue(value: unknown, key: string, where: string): unknown {
  if (typeof value !== "string" || !/^\s*[[{]/.test(value)) return value
  try {
    return parseExactJson(value)
  } catch {
    const python = /^\s*[[{]\s*(\{\s*)?'/.test(value)
      ? " (this looks like Python's repr; write it with json.dumps)"
      : ""
    throw new InputError(
      `${where}: expected "${key}" to hold JSON as text, got ${describeValue(value)}${python}`,
    )
  }
}

/** Without the keys whose value is null, at any depth: padding of a column of structs. */
export function withoutNulls(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNulls)
  if (!isObject(value)) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, inner]) => inner !== null)
      .map(([key, inner]) => [key, withoutNulls(inner)]),
  )
}

/** Whether two values of JSON say the same, whatever the order of an object's keys. */
export function isSameJson(a: unknown, b: unknown): boolean {
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return a === b
  if (Array.isArray(a) !== Array.isArray(b)) return false
  const [left, right] = [Object.entries(a), new Map(Object.entries(b))]
  return (
    left.length === right.size &&
    left.every(([key, value]) => right.has(key) && isSameJson(value, right.get(key)))
  )
}

/** The keys of a row, for messages: those that say nothing are marked. */
export const shownKeys = (row: JsonObject): string =>
  Object.entries(row)
    .slice(0, 8)
    .map(([key, value]) => `${key}${value === null ? " (null)" : value === "" ? " (empty)" : ""}`)
    .join(", ") || "no keys"
