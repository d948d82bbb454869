import { open } from "node:fs/promises"
import { Readable } from "node:stream"
import { parse } from "csv-parse"
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from "hyparquet"
import { compressors } from "hyparquet-compressors"
import { InputError } from "../errors.ts"
import { isObject, parseJson } from "../formats/json.ts"
import { readError } from "../formats/json-files.ts"
import { elementSplitter } from "./json-elements.ts"
import { fileBytes, fileLines, MAX_LINE_BYTES, TOO_LONG } from "./text-lines.ts"

export const ROW_FILE_KINDS = ["jsonl", "json", "csv", "parquet"] as const
export type RowFileKind = (typeof ROW_FILE_KINDS)[number]

/** A row as its file holds it: JSON not yet parsed, a value, or what is wrong with it. */
export type RawRow = { readonly line: number } & (
  | { readonly json: Uint8Array }
  | { readonly value: unknown }
  | { readonly problem: string }
)

export interface RawRows {
  readonly rows: readonly RawRow[]
  /** Of the file, read so far. */
  readonly fraction: number
}

/** A JSON document that is not a list is held whole. */
const MAX_JSON_BYTES = 128 * 2 ** 20
/** Values that are passed on at once. */
const VALUE_ROWS = 2000
/**
 * Of a parquet row group, unpacked, that becomes rows at once. A nested column is decoded whole for
 * each read (the library cannot begin inside one), so that smaller pieces cost time, not memory.
 */
const GROUP_PIECE_BYTES = 64 * 2 ** 20
/** A damaged file may say that a row group has any number of rows. */
const GROUP_PIECE_ROWS = 2 ** 16
/** A larger row group would be held whole while its first row is read. */
const MAX_GROUP_BYTES = 2 * 2 ** 30

/** What a file's name says it holds; undefined for a name that says nothing. */
export function rowFileKind(path: string): RowFileKind | undefined {
  const name = path.toLowerCase().replace(/\.(gz|zst)$/, "")
  if (/\.(jsonl|ndjson)$/.test(name)) return "jsonl"
  if (name.endsWith(".json")) return "json"
  if (name.endsWith(".csv") || name.endsWith(".tsv")) return "csv"
  if (path.toLowerCase().endsWith(".parquet")) return "parquet"
  return undefined
}

/** Reads a file's rows in order, piece by piece. */
export async function* rawRows(path: string, kind: RowFileKind): AsyncGenerator<RawRows> {
  const size = await fileSize(path)
  switch (kind) {
    case "jsonl":
      yield* jsonlRows(path, size)
      break
    case "json":
      yield* jsonRows(path, size)
      break
    case "csv":
      yield* csvRows(path, size)
      break
    case "parquet":
      yield* parquetRows(path)
      break
  }
}

async function fileSize(path: string): Promise<number> {
  try {
    const file = await open(path, "r")
    try {
      return (await file.stat()).size
    } finally {
      await file.close()
    }
  } catch (error) {
    throw readError(error, path)
  }
}

async function* jsonlRows(path: string, size: number): AsyncGenerator<RawRows> {
  for await (const { lines, fraction } of fileLines(path, size)) {
    const rows = lines.map(
      ({ line, bytes, problem }): RawRow =>
        bytes === null ? { line, problem: problem! } : { line, json: bytes },
    )
    yield { rows, fraction }
  }
}

/** A list of rows, an object that holds one, or (as many data sets do) lines under the wrong name. */
async function* jsonRows(path: string, size: number): AsyncGenerator<RawRows> {
  for await (const { bytes } of fileBytes(path, size)) {
    if (isJsonLines(bytes)) yield* jsonlRows(path, size)
    else if (isJsonList(bytes)) yield* listRows(path, size)
    else yield* documentRows(path, size)
    return
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

/** Anything else is one document, which is held whole. */
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
  const text = decodeUtf8(Buffer.concat(parts), path).replace(/^\uFEFF/, "")
  const list = rowList(parseJson(text, path), path)
  const lines = elementLines(text, list.length)
  const rows = list.map((value, i): RawRow => ({ line: lines[i]!, value }))
  for (let from = 0; from < rows.length; from += VALUE_ROWS) {
    yield {
      rows: rows.slice(from, from + VALUE_ROWS),
      fraction: Math.min(1, (from + VALUE_ROWS) / rows.length),
    }
  }
}

const withoutMark = (bytes: Uint8Array): Uint8Array =>
  bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf ? bytes.subarray(3) : bytes

/** Whether the first byte that is no space opens a list. */
function isJsonList(start: Uint8Array): boolean {
  const first = withoutMark(start).find(
    (byte) => byte !== 0x20 && byte !== 0x09 && byte !== 0x0a && byte !== 0x0d,
  )
  return first === 0x5b
}

/** The first line is an object by itself, and something follows it. */
function isJsonLines(start: Uint8Array): boolean {
  const end = start.indexOf(0x0a)
  if (end === -1 || start[0] !== 0x7b) return false
  try {
    return (
      isObject(JSON.parse(new TextDecoder().decode(start.subarray(0, end)))) &&
      end + 1 < start.length
    )
  } catch {
    return false
  }
}

function rowList(value: unknown, path: string): readonly unknown[] {
  if (isObject(value)) {
    const lists = Object.values(value).filter(Array.isArray)
    const named = ["data", "rows", "train", "instances"]
      .map((key) => value[key])
      .find(Array.isArray)
    if (named !== undefined) return named
    if (lists.length === 0) return [value]
  }
  throw new InputError(
    `${path}: expected a list of rows, or an object with one under "data" or "rows"`,
  )
}

/** The line that each of `count` rows begins on: elements of the one list in an object. */
function elementLines(text: string, count: number): number[] {
  const listDepth = 2
  const lines: number[] = []
  let line = 1
  let depth = 0
  let inString = false
  let expects = false
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
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

async function* csvRows(path: string, size: number): AsyncGenerator<RawRows> {
  let fraction = 0
  async function* bytes(): AsyncGenerator<Uint8Array> {
    const decoder = new TextDecoder("utf-8", { fatal: true })
    const encoder = new TextEncoder()
    for await (const piece of fileBytes(path, size)) {
      fraction = piece.fraction
      yield encoder.encode(decodeUtf8(piece.bytes, path, decoder))
    }
  }
  const problems: RawRow[] = []
  const parser = parse({
    bom: true,
    columns: true,
    delimiter: /\.tsv(\.gz|\.zst)?$/i.test(path) ? "\t" : ",",
    info: true,
    max_record_size: MAX_LINE_BYTES,
    skip_empty_lines: true,
    skip_records_with_error: true,
    on_skip: (error) => {
      problems.push({
        line: (error as { lines?: number } | undefined)?.lines ?? 0,
        problem: error?.message ?? "not a csv record",
      })
      return undefined
    },
  })
  const source = Readable.from(bytes())
  source.on("error", (error) => parser.destroy(error))
  source.pipe(parser)
  let rows: RawRow[] = []
  try {
    for await (const { record, info } of parser as AsyncIterable<{
      record: unknown
      info: { lines: number }
    }>) {
      rows.push(...problems.splice(0), { line: info.lines, value: record })
      if (rows.length < 500) continue
      yield { rows, fraction }
      rows = []
    }
  } catch (error) {
    if (error instanceof InputError) throw error
    throw new InputError(`${path}: not csv: ${(error as Error).message}`)
  }
  rows.push(...problems)
  if (rows.length > 0) yield { rows, fraction: 1 }
}

/** Line numbers are row numbers, from 1. */
async function* parquetRows(path: string): AsyncGenerator<RawRows> {
  const file = await asyncBufferFromFile(path)
  const metadata = await readable(path, () => parquetMetadataAsync(file))
  const total = Number(metadata.num_rows)
  if (
    !(total >= 0 && total < 2 ** 31) ||
    metadata.row_groups.some(({ num_rows }) => num_rows < 0n)
  ) {
    throw new InputError(`${path}: not a readable parquet file: it says that it has ${total} rows`)
  }
  let first = 0
  for (const { num_rows, total_byte_size } of metadata.row_groups) {
    const end = first + Number(num_rows)
    const bytes = Number(total_byte_size)
    if (bytes > MAX_GROUP_BYTES) {
      throw new InputError(
        `${path}: expected row groups of at most ${MAX_GROUP_BYTES / 2 ** 30} GB, got one of ${(bytes / 2 ** 30).toFixed(1)} GB; write the file with smaller ones (pyarrow: row_group_size=10000)`,
      )
    }
    const pieces = Math.max(1, Math.ceil(bytes / GROUP_PIECE_BYTES))
    const wanted = Math.max(VALUE_ROWS, Math.ceil((end - first) / pieces))
    const rowsAtOnce = Math.min(GROUP_PIECE_ROWS, wanted)
    for (let rowStart = first; rowStart < end; rowStart += rowsAtOnce) {
      const rowEnd = Math.min(end, rowStart + rowsAtOnce)
      const values = await readable(path, () =>
        parquetReadObjects({ file, metadata, compressors, rowStart, rowEnd }),
      )
      for (let from = 0; from < values.length; from += VALUE_ROWS) {
        const rows = values
          .slice(from, from + VALUE_ROWS)
          .map((value, i): RawRow => ({ line: rowStart + from + i + 1, value: plain(value) }))
        yield { rows, fraction: (rowStart + from + rows.length) / total }
      }
    }
    first = end
  }
}

/** Whatever its decoder trips over, a damaged parquet file is the user's to replace. */
async function readable<T>(path: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (error) {
    throw new InputError(`${path}: not a readable parquet file: ${(error as Error).message}`)
  }
}

/** Whole numbers of 64 bits as numbers, bytes as nothing: what JSON would have said. */
function plain(value: unknown): unknown {
  if (typeof value === "bigint") return Number(value)
  if (Array.isArray(value)) return value.map(plain)
  if (value instanceof Date) return value.toISOString()
  if (ArrayBuffer.isView(value)) return null
  if (!isObject(value)) return value
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]))
}

function decodeUtf8(
  bytes: Uint8Array,
  path: string,
  decoder?: InstanceType<typeof TextDecoder>,
): string {
  try {
    return decoder === undefined
      ? new TextDecoder("utf-8", { fatal: true }).decode(bytes)
      : decoder.decode(bytes, { stream: true })
  } catch {
    throw new InputError(`${path}: expected UTF-8 text, got bytes that are not UTF-8`)
  }
}
