import { InputError } from "../errors.ts"
import { jsonProblem } from "./json-problem.ts"

export type JsonObject = { readonly [key: string]: unknown }

const MEGABYTE = 1e6
/** Of a text that is read whole, unless more is asked for. */
export const MAX_TEXT_BYTES = 64 * MEGABYTE

/** A plain object, not null and not an array. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}

/**
 * The values in nested objects by dotted keys, `a.b.c`, in their order; lists are values, and so is
 * an object without keys. A value that is no object has the key `under`; with none, it is left out.
 */
export function dottedValues(value: unknown, under = ""): [key: string, value: unknown][] {
  if (!isObject(value) || Object.keys(value).length === 0)
    return under === "" ? [] : [[under, value]]
  return Object.entries(value).flatMap(([name, inner]) =>
    dottedValues(inner, under === "" ? name : `${under}.${name}`),
  )
}

/** How a JSON value is named in a message: its type, or the value itself when it is short. */
export function describeValue(value: unknown): string {
  if (value === undefined) return "nothing"
  if (value === null) return "null"
  if (Array.isArray(value)) return `a list of ${value.length}`
  if (typeof value === "object") return "an object"
  const text = JSON.stringify(value)
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`
}

/** @throws InputError for the byte order mark of other Unicode, which PowerShell's `>` writes */
export function refuseUtf16([first, second]: Uint8Array, where: string): void {
  const isMark = (first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff)
  if (!isMark) return
  const sign = first === 0xff ? "FF FE" : "FE FF"
  throw new InputError(
    `${where}: expected UTF-8 text, got UTF-16 or UTF-32 (it begins with ${sign}); save it as UTF-8`,
  )
}

/**
 * Bytes as text; a byte order mark is dropped.
 *
 * @throws InputError when they are not UTF-8
 */
export function utf8(bytes: Uint8Array, where: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes)
  } catch {
    refuseUtf16(bytes, where)
    throw new InputError(`${where}: expected UTF-8 text, got bytes that are not UTF-8`)
  }
}

/** @throws InputError when the value is not a JSON object. */
export function expectObject(value: unknown, where: string): JsonObject {
  if (isObject(value)) return value
  throw new InputError(`${where}: expected a JSON object, got ${describeValue(value)}`)
}

/** @throws InputError when a file has more bytes than may be read at once. */
export function checkBytes(bytes: number, maxBytes: number, where: string): void {
  if (bytes <= maxBytes) return
  throw new InputError(
    `${where}: expected at most ${maxBytes / MEGABYTE} MB, got ${Math.ceil(bytes / MEGABYTE)} MB`,
  )
}

/** @throws InputError with line and column of what is not JSON, and what stands there. */
export function parseJson(text: string, where: string): unknown {
  refuseDeep(text, where)
  try {
    return JSON.parse(text)
  } catch {
    throw new InputError(`${where}: expected JSON, got ${problemIn(text)}`)
  }
}

/** Deeper than any file of ours; what walks a value calls itself for each level. */
const MAX_DEPTH = 512
/** A shorter text cannot exhaust anything. */
const LOOKED_AT_CHARACTERS = 4096

/** @throws InputError for JSON that nests deeper than any file of ours, before it is parsed */
export function refuseDeep(text: string, where: string): void {
  if (!nestsTooDeep(text)) return
  throw new InputError(`${where}: expected JSON that nests at most ${MAX_DEPTH} deep`)
}

function nestsTooDeep(text: string): boolean {
  if (text.length < LOOKED_AT_CHARACTERS) return false
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (c === QUOTE) {
      i = endOfString(text, i)
      if (i < 0) return false // cut off: the parser says where
    } else if (c === 0x5b || c === 0x7b) {
      if (++depth > MAX_DEPTH) return true
    } else if (c === 0x5d || c === 0x7d) depth--
  }
  return false
}

const QUOTE = 0x22
const BACKSLASH = 0x5c

/** Where the string that begins at `start` ends; -1 when it does not. */
function endOfString(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let before = end - 1
    while (text.charCodeAt(before) === BACKSLASH) before--
    if ((end - before) % 2 === 1) return end
  }
  return -1
}

function problemIn(text: string): string {
  const problem = jsonProblem(text)
  if (problem === undefined) return "a text that nests too deep"
  if (text.trim() === "") return "an empty text"
  const { at, expected, got } = problem
  const before = text.slice(0, at).split("\n")
  const line = text.trimEnd().includes("\n") ? `line ${before.length}, ` : ""
  return `${got} at ${line}column ${before.at(-1)!.length + 1}, where JSON has ${expected}`
}

const NUMBER_OR_STRING = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g
/** Begins no text of a file: a lone surrogate is not UTF-8. */
const FLOAT = "\uDC00"

/** Whole numbers that a text writes as 4.0 or 1e3, as marked strings in place. */
function markedFloats(text: string): unknown {
  const marked = text.replace(NUMBER_OR_STRING, (token) => {
    const isFloat = /^[-\d].*[.eE]/.test(token) && Number.isInteger(Number(token))
    return isFloat ? `"${FLOAT}${token}"` : token
  })
  return JSON.parse(marked)
}

function withFloats(value: unknown, marked: unknown): unknown {
  if (typeof value === "number") {
    const isSame = typeof marked === "string" && marked[0] === FLOAT
    return isSame && Number(marked.slice(1)) === value ? marked : value
  }
  if (Array.isArray(value)) {
    return value.map((item, i) => withFloats(item, Array.isArray(marked) ? marked[i] : undefined))
  }
  if (!isObject(value)) return value
  const of = isObject(marked) ? marked : {}
  return Object.fromEntries(Object.entries(value).map(([key, x]) => [key, withFloats(x, of[key])]))
}

/**
 * An object as indented JSON; a number that `source`, the text it was parsed from, writes as 4.0
 * stays so: for Python 4 is another type, and Transformers refuses it.
 */
export function jsonLike(value: JsonObject, source: string): string {
  const text = JSON.stringify(withFloats(value, markedFloats(source)), null, 2)
  return text.replaceAll(/"\\udc00([^"]*)"/g, "$1")
}
