import { spend, spendText } from "./budget.ts"
import { floatText } from "./numbers.ts"
import { equal, sortedBy } from "./operators.ts"
import { text } from "./printing.ts"
import { Dict, Float, isInteger, refuse, Tuple, typeName, type Value } from "./values.ts"

export interface JsonOptions {
  readonly ensureAscii: boolean
  /** What a level is indented by; null: everything on one line. */
  readonly indent: string | null
  readonly separators: readonly [item: string, key: string]
  readonly sortKeys: boolean
}

/** Python's `json.dumps`, which Transformers gives templates as the `tojson` filter. */
export function json(value: Value, options: JsonOptions): string {
  return written(value, options, "\n")
}

function written(value: Value, options: JsonOptions, newline: string): string {
  spend(1)
  if (value === null) return "null"
  if (typeof value === "boolean") return String(value)
  if (typeof value === "string") return quotedJson(value, options.ensureAscii)
  if (isInteger(value)) return String(value)
  if (value instanceof Float) return jsonFloat(value.value)
  const items = Array.isArray(value) ? value : value instanceof Tuple ? value.items : undefined
  const deeper = newline + (options.indent ?? "")
  if (items !== undefined) {
    const all = items.map((item) => written(item, options, deeper))
    return wrapped("[", all, "]", options, newline)
  }
  if (!(value instanceof Dict)) {
    return refuse(`Object of type ${typeName(value)} is not JSON serializable`)
  }
  const pairs = [...value.pairs()]
  const ordered = options.sortKeys ? sortedBy(pairs, ([key]) => key, false) : pairs
  const members = ordered.map(
    ([key, member]) =>
      quotedJson(keyText(key), options.ensureAscii) +
      options.separators[1] +
      written(member, options, deeper),
  )
  return wrapped("{", members, "}", options, newline)
}

function wrapped(
  open: string,
  items: readonly string[],
  close: string,
  { indent, separators }: JsonOptions,
  newline: string,
): string {
  if (items.length === 0) return open + close
  const between = indent === null ? "" : newline + indent
  const separator = separators[0] + between
  spendText(items.reduce((sum, item) => sum + item.length + separator.length, 2))
  return open + between + items.join(separator) + (indent === null ? "" : newline) + close
}

const jsonFloat = (value: number): string =>
  Number.isFinite(value)
    ? floatText(value)
    : Number.isNaN(value)
      ? "NaN"
      : value > 0
        ? "Infinity"
        : "-Infinity"

function keyText(key: Value): string {
  if (typeof key === "string") return key
  if (key === null) return "null"
  if (typeof key === "boolean") return String(key)
  if (key instanceof Float) return jsonFloat(key.value)
  if (isInteger(key)) return text(key)
  return refuse(`keys must be str, int, float, bool or None, not ${typeName(key)}`)
}

const NAMED: Readonly<Record<string, string>> = {
  ...{ '"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" },
  ...{ "\b": "\\b", "\f": "\\f" },
}
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what JSON escapes
const CONTROL = /["\\\x00-\x1f]/g
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what JSON escapes
const NOT_ASCII = /["\\\x00-\x1f\x7f-\uffff]/g

function quotedJson(value: string, ensureAscii: boolean): string {
  spendText(value.length)
  const escaped = value.replace(
    ensureAscii ? NOT_ASCII : CONTROL,
    (unit) => NAMED[unit] ?? `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  )
  return `"${escaped}"`
}

/** The filter's own arguments. @throws InputError when they are of other types */
export function jsonOptions(
  ensureAscii: Value | undefined,
  indent: Value | undefined,
  separators: Value | undefined,
  sortKeys: Value | undefined,
): JsonOptions {
  const step = indent ?? null
  let indented: string | null = null
  if (typeof step === "string") indented = step
  else if (step !== null) {
    if (!isInteger(step)) refuse(`can't multiply sequence by non-int of type '${typeName(step)}'`)
    const width = Math.max(0, Number(step))
    spendText(width)
    indented = " ".repeat(width)
  }
  const pair = separators ?? null
  const parts = Array.isArray(pair) ? pair : pair instanceof Tuple ? pair.items : undefined
  const both = parts?.length === 2 && parts.every((part) => typeof part === "string")
  if (pair !== null && !both) refuse("separators must be two texts")
  return {
    ensureAscii: ensureAscii !== undefined && !equal(ensureAscii, false),
    indent: indented,
    separators: both ? (parts as [string, string]) : indented === null ? [", ", ": "] : [",", ": "],
    sortKeys: sortKeys !== undefined && !equal(sortKeys, false),
  }
}
