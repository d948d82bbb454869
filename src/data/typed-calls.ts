/**
 * Calls and tools of files with typed columns. Their values come as numbers, which do not tell that
 * a `2.0` is a float and lose digits past 2^53; a chat template prints both.
 */
import type { Field } from "@uwdata/flechette"
import type { SchemaElement } from "hyparquet"
import { isObject } from "../formats/json.ts"

/** Parts of a row where null is padding: a column of structs gives each of them the keys of all. */
export const CALL_KEYS = new Set(["tool_calls", "function_call", "tools", "functions"])

/** Columns of floats, by the names on the way to them with dots between; lists have no name. */
export type FloatColumns = ReadonlySet<string>

/** @param schema as in the file's metadata: each element is followed by its children */
export function parquetFloats(schema: readonly SchemaElement[]): FloatColumns {
  const floats = new Set<string>()
  let at = 0
  const walk = (under: string, isNamed: boolean): void => {
    const element = schema[at++]
    if (element === undefined) return
    const path = isNamed ? joined(under, element.name) : under
    if (element.type === "DOUBLE" || element.type === "FLOAT") floats.add(path)
    const isList = element.converted_type === "LIST" || element.logical_type?.type === "LIST"
    const children = element.num_children ?? 0
    for (let i = 0; i < children; i++) {
      if (isList) walkItems(path)
      else walk(path, true)
    }
  }
  // a list holds a group that repeats, which holds what the list is of
  const walkItems = (path: string): void => {
    const { num_children: children = 0 } = schema[at] ?? {}
    if (children === 0) walk(path, false)
    else {
      at++
      for (let i = 0; i < children; i++) walk(path, false)
    }
  }
  const columns = schema[at++]?.num_children ?? 0
  for (let i = 0; i < columns; i++) walk("", true)
  return floats
}

const FLOAT_TYPE = 3 // Arrow's type ids
const STRUCT_TYPE = 13

export function arrowFloats(fields: readonly Field[]): FloatColumns {
  const floats = new Set<string>()
  const walk = ({ name, type }: Field, under: string, isNamed: boolean): void => {
    const path = isNamed ? joined(under, name) : under
    if (type.typeId === FLOAT_TYPE) floats.add(path)
    const { children = [] } = type as { readonly children?: readonly Field[] }
    for (const child of children) walk(child, path, type.typeId === STRUCT_TYPE)
  }
  for (const field of fields) walk(field, "", true)
  return floats
}

export const joined = (under: string, name: string): string =>
  under === "" ? name : `${under}.${name}`

/**
 * JSON text of what lies at a path, without its nulls; undefined where numbers alone tell all of
 * it.
 *
 * @param plain what JSON would have of a value that is no number, list or object
 */
export function exactText(
  value: unknown,
  { floats, plain }: { readonly floats: FloatColumns; readonly plain: (value: unknown) => unknown },
  path: string,
): string | undefined {
  let isExact = false
  const written = (one: unknown, at: string): string => {
    if (typeof one === "bigint") {
      isExact ||= BigInt(Number(one)) !== one || !Number.isSafeInteger(Number(one))
      return String(one)
    }
    if (typeof one === "number") {
      if (!floats.has(at) || !Number.isInteger(one)) return JSON.stringify(one)
      isExact = true
      const text = Object.is(one, -0) ? "-0" : String(one)
      return text.includes("e") ? text : `${text}.0`
    }
    if (ArrayBuffer.isView(one) && !(one instanceof DataView) && !(one instanceof Uint8Array))
      return written(Array.from(one as Float64Array), at)
    if (Array.isArray(one)) return `[${one.map((item) => written(item ?? null, at)).join(",")}]`
    if (!isObject(one) || one instanceof Date || ArrayBuffer.isView(one))
      return JSON.stringify(plain(one) ?? null)
    const members = Object.entries(one).filter(([, inner]) => inner !== null && inner !== undefined)
    const texts = members.map(
      ([key, inner]) => `${JSON.stringify(key)}:${written(inner, joined(at, key))}`,
    )
    return `{${texts.join(",")}}`
  }
  const text = written(value, path)
  return isExact ? text : undefined
}
