import { InputError } from "../errors.ts"
import { isObject, type JsonObject, parseJson } from "../formats/json.ts"
import { elementSplitter } from "./json-elements.ts"
import { foreign, parseRow } from "./json-text.ts"
import { type RawRow, type RawRows, VALUE_ROWS } from "./raw-rows.ts"
import { SUPERVISED } from "./rows/shapes.ts"
import { has } from "./rows/values.ts"
import { fileBytes, fileLines, MAX_LINE_BYTES, TOO_LONG } from "./text-lines.ts"

/** A JSON document that is not a list is held whole. */
const MAX_JSON_BYTES = 128 * 2 ** 20

/**
 * The rows of a JSON file, which says by its content what it is, whatever its name: objects on
 * lines, a list, or a document (one row, rows in an object, objects one after the other).
 */
export async function* jsonRows(
  path: string,
  size: number,
  named: "jsonl" | "json",
): AsyncGenerator<RawRows> {
  const start = await fileStart(path, size)
  if (start.trim() === "") return
  switch (layoutOf(start, named)) {
    case "lines":
      yield* lineRows(path, size)
      break
    case "list":
      yield* listRows(path, size)
      break
    case "document":
      yield* documentRows(path, size)
      break
  }
}

/** The file up to its second line that says something. */
async function fileStart(path: string, size: number): Promise<string> {
  const parts: Uint8Array[] = []
  let bytes = 0
  // 0 before the first line, 1 in it, 2 behind it
  let place = 0
  for await (const piece of fileBytes(path, size)) {
    parts.push(piece.bytes.slice())
    bytes += piece.bytes.length
    for (const byte of piece.bytes) {
      const isSpace = byte === SPACE || (byte >= TAB && byte <= RETURN)
      if (place === 0 && !isSpace) place = 1
      else if (place === 1 && byte === NEWLINE) place = 2
      else if (place === 2 && !isSpace) return text(Buffer.concat(parts))
    }
    if (bytes > MAX_LINE_BYTES) break
  }
  return text(Buffer.concat(parts))
}

const [TAB, NEWLINE, RETURN, SPACE] = [0x09, 0x0a, 0x0d, 0x20]

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes).replace(/^\uFEFF/, "")

type JsonLayout = "lines" | "list" | "document"

function layoutOf(start: string, named: "jsonl" | "json"): JsonLayout {
  const [first = "", ...others] = start.trimStart().split("\n")
  const isAlone = others.every((line) => line.trim() === "")
  const values = outerValues(first).length
  if (first.startsWith("[")) return values === 1 && !isAlone ? "lines" : "list"
  if (!first.startsWith("{")) return named === "json" && isAlone ? "document" : "lines"
  if (values > 1) return "document" // objects side by side
  // an object alone may be one row, or hold the rows
  if (values === 1) return isAlone && named === "json" ? "document" : "lines"
  const goesOn = /[{[,:]\s*$/.test(first)
  return goesOn || named === "json" ? "document" : "lines"
}

async function* lineRows(path: string, size: number): AsyncGenerator<RawRows> {
  for await (const { lines, fraction } of fileLines(path, size)) {
    const rows = lines.map(
      ({ line, bytes, problem }): RawRow =>
        bytes === null ? { line, problem: problem! } : { line, json: bytes },
    )
    yield { rows, fraction }
  }
}

/** A list is read element by element, whatever its length. */
async function* listRows(path: string, size: number): AsyncGenerator<RawRows> {
  const splitter = elementSplitter(path)
  let isFirst = true
  for await (const { bytes, fraction } of fileBytes(path, size)) {
    const rows = splitter
      .push(isFirst ? withoutMark(bytes) : bytes)
      .map(
        ({ line, bytes: json }): RawRow =>
          json === null ? { line, problem: TOO_LONG } : { line, json },
      )
    isFirst = false
    if (rows.length > 0) yield { rows, fraction }
  }
  splitter.finish()
}

const withoutMark = (bytes: Uint8Array): Uint8Array =>
  bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes

/** Anything else is held whole. */
async function* documentRows(path: string, size: number): AsyncGenerator<RawRows> {
  const parts: Uint8Array[] = []
  let bytes = 0
  for await (const piece of fileBytes(path, size)) {
    bytes += piece.bytes.length
    if (bytes > MAX_JSON_BYTES) {
      throw new InputError(
        `${path}: expected at most ${MAX_JSON_BYTES / 2 ** 20} MB of JSON that is not a list; convert it to .jsonl`,
      )
    }
    parts.push(piece.bytes.slice())
  }
  const document = decoded(Buffer.concat(parts), path)
  const values = outerValues(document)
  const rows = values.length > 1 ? sideBySide(document, values) : rowsOfDocument(document, path)
  for (let from = 0; from < rows.length; from += VALUE_ROWS) {
    yield {
      rows: rows.slice(from, from + VALUE_ROWS),
      fraction: Math.min(1, (from + VALUE_ROWS) / rows.length),
    }
  }
}

function decoded(bytes: Uint8Array, path: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes).replace(/^\uFEFF/, "")
  } catch {
    throw new InputError(`${path}: expected UTF-8 text, got bytes that are not UTF-8`)
  }
}

/** Half-open. */
type Place = readonly [start: number, end: number]

/** Where the lists and objects stand that are in no other one. */
function outerValues(text: string): Place[] {
  const places: Place[] = []
  let [depth, start, inString] = [0, 0, false]
  for (let at = 0; at < text.length; at++) {
    const c = text.charCodeAt(at)
    if (inString) {
      if (c === BACKSLASH) at++
      else if (c === QUOTE) inString = false
    } else if (c === QUOTE) inString = true
    else if (c === OPEN_LIST || c === OPEN_MAP) {
      if (depth++ === 0) start = at
    } else if ((c === CLOSE_LIST || c === CLOSE_MAP) && --depth === 0) places.push([start, at + 1])
  }
  return places
}

const [QUOTE, BACKSLASH] = [0x22, 0x5c]
const [OPEN_LIST, CLOSE_LIST, OPEN_MAP, CLOSE_MAP] = [0x5b, 0x5d, 0x7b, 0x7d]

function lineBreaks(text: string, from: number, to: number): number {
  let count = 0
  for (let at = text.indexOf("\n", from); at !== -1 && at < to; at = text.indexOf("\n", at + 1))
    count++
  return count
}

/** Values of a document that holds several, one after the other. */
function sideBySide(document: string, places: readonly Place[]): RawRow[] {
  let [line, from] = [1, 0]
  return places.map(([start, end]) => {
    line += lineBreaks(document, from, start)
    from = start
    return { line, json: Buffer.from(document.slice(start, end)) }
  })
}

function rowsOfDocument(document: string, path: string): RawRow[] {
  const other = foreign(document)
  if (other !== undefined) throw new InputError(`${path}: expected JSON; ${other}`)
  const value = parseRow(document) ?? parseJson(document, path)
  const list = rowList(value, path)
  const lines = elementLines(document, list.length)
  return list.map((row, i): RawRow => ({ line: lines[i]!, value: row }))
}

/** Keys under which objects keep their rows. */
const LIST_KEYS = ["data", "rows", "train", "training", "instances", "examples"]

function rowList(value: unknown, path: string): readonly unknown[] {
  if (isObject(value)) {
    if (isRow(value)) return [value]
    const named = LIST_KEYS.map((key) => value[key]).find(Array.isArray)
    if (named !== undefined) return named.every(isViewerRow) ? named.map(({ row }) => row) : named
    if (!Object.values(value).some(Array.isArray)) return [value]
  }
  throw new InputError(
    `${path}: expected a list of rows, or an object with one under "data" or "rows"`,
  )
}

const isRow = (value: JsonObject): boolean =>
  SUPERVISED.some(({ keys }) => keys.every((key) => has(value, key)))

/** What the data set viewer of the hub answers: {row_idx, row}. */
const isViewerRow = (value: unknown): value is { readonly row: unknown } =>
  isObject(value) && "row_idx" in value && isObject(value.row)

/** The line that each of `count` rows begins on: elements of the one list in an object. */
function elementLines(document: string, count: number): number[] {
  const listDepth = 2
  const lines: number[] = []
  let line = 1
  let depth = 0
  let inString = false
  let expects = false
  for (let i = 0; i < document.length; i++) {
    const c = document.charCodeAt(i)
    if (c === 0x0a) line++
    else if (inString) {
      if (c === 0x5c) i++
      else if (c === 0x22) inString = false
    } else if (c > 0x20) {
      if (expects && depth === listDepth && c !== 0x5d) {
        lines.push(line)
        expects = false
      }
      if (c === 0x22) inString = true
      else if (c === 0x5b || c === 0x7b) {
        depth++
        expects = depth === listDepth && c === 0x5b
      } else if (c === 0x5d || c === 0x7d) depth--
      else if (c === 0x2c && depth === listDepth) expects = true
    }
  }
  // a list beside the rows' own has elements too: then rows are counted, not placed
  return lines.length === count ? lines : Array.from({ length: count }, (_, i) => i + 1)
}
