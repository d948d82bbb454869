import { closeSync, openSync, readSync } from "node:fs"
import { Readable } from "node:stream"
import { type CsvError, parse } from "csv-parse"
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from "hyparquet"
import { InputError } from "../errors.ts"
import { isObject } from "../formats/json.ts"
import { openToRead, readError } from "../formats/json-files.ts"
import { arrowRows } from "./arrow-rows.ts"
import { csvHeader } from "./csv-header.ts"
import { jsonRows } from "./json-rows.ts"
import { damageIn, foreign } from "./json-text.ts"
import { checkPages } from "./parquet-pages.ts"
import { unpackedOnce } from "./parquet-unpacked.ts"
import { type RawRow, type RawRows, VALUE_ROWS } from "./raw-rows.ts"
import { withoutNulls } from "./rows/values.ts"
import { fileBytes, MAX_LINE_BYTES } from "./text-lines.ts"
import { CALL_KEYS, exactText, type FloatColumns, joined, parquetFloats } from "./typed-calls.ts"

export type { RawRow, RawRows } from "./raw-rows.ts"

const ROW_FILE_KINDS = ["jsonl", "json", "csv", "parquet", "arrow"] as const
export type RowFileKind = (typeof ROW_FILE_KINDS)[number]

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
  if (/\.(jsonl|ndjson|jsonlines)(\.txt)?$/.test(name)) return "jsonl"
  if (name.endsWith(".json")) return "json"
  if (name.endsWith(".csv") || name.endsWith(".tsv")) return "csv"
  if (path.toLowerCase().endsWith(".parquet")) return "parquet"
  if (/\.(arrow|feather)$/.test(path.toLowerCase())) return "arrow"
  return undefined
}

/** What the first bytes of a file say it holds, for a name that says nothing. */
export function kindByContent(path: string): RowFileKind | undefined {
  const file = openSync(path, "r")
  const start = Buffer.alloc(512)
  try {
    readSync(file, start, 0, start.length, 0)
  } finally {
    closeSync(file)
  }
  if (start.subarray(0, 4).toString("latin1") === "PAR1") return "parquet"
  if (start.subarray(0, 6).toString("latin1") === "ARROW1") return "arrow"
  return /^\s*(\{\s*"|\[\s*\{)/.test(start.toString("utf8").replace(/^\uFEFF/, ""))
    ? "json"
    : undefined
}

/** Reads a file's rows in order, piece by piece. */
export async function* rawRows(path: string, kind: RowFileKind): AsyncGenerator<RawRows> {
  const size = await fileSize(path)
  switch (kind) {
    case "jsonl":
    case "json":
      yield* jsonRows(path, size, kind)
      break
    case "csv":
      yield* csvRows(path, size)
      break
    case "parquet":
      yield* parquetRows(path)
      break
    case "arrow":
      for await (const { rows, floats, fraction } of arrowRows(path, size))
        yield {
          rows: rows.map(({ line, value }) => ({ line, value: row(value, floats) })),
          fraction,
        }
      break
  }
}

async function fileSize(path: string): Promise<number> {
  const file = await openToRead(path)
  try {
    return (await file.stat()).size
  } catch (error) {
    throw readError(error, path)
  } finally {
    await file.close()
  }
}

async function* csvRows(path: string, size: number): AsyncGenerator<RawRows> {
  let fraction = 0
  let isFirst = true
  async function* bytes(): AsyncGenerator<Uint8Array> {
    const decoder = new TextDecoder("utf-8", { fatal: true })
    const encoder = new TextEncoder()
    for await (const piece of fileBytes(path, size)) {
      fraction = piece.fraction
      const text = decodeUtf8(piece.bytes, path, decoder)
      const other = isFirst ? foreign(text) : undefined
      if (other !== undefined) throw new InputError(`${path}: not csv: ${other}`)
      isFirst = false
      yield encoder.encode(text)
    }
  }
  const { delimiter, named } = await csvDelimiter(path, size)
  const problems: RawRow[] = []
  const parser = parse({
    bom: true,
    columns: csvHeader,
    delimiter,
    from_line: named ? 2 : 1,
    info: true,
    max_record_size: MAX_LINE_BYTES,
    relax_quotes: true, // a quote inside a field is a quote, as Python's csv reads it
    skip_empty_lines: true,
    skip_records_with_error: true,
    on_skip: (error) => {
      const line = (error as { lines?: number } | undefined)?.lines ?? 0
      // one record may be wrong in several places
      if (problems.at(-1)?.line !== line)
        problems.push({ line, problem: recordProblem(error, delimiter) })
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

function recordProblem(error: CsvError | undefined, delimiter: string): string {
  const { columns, record } = (error ?? {}) as { columns?: unknown; record?: unknown }
  if (error?.code === "CSV_QUOTE_NOT_CLOSED")
    return "a field begins with a quote that is not closed in the rest of the file"
  const inconsistent = error?.code === "CSV_RECORD_INCONSISTENT_COLUMNS"
  if (!inconsistent || !Array.isArray(columns) || !Array.isArray(record))
    return error?.message ?? "not a csv record"
  return `expected ${columns.length} fields, as the header has, got ${record.length}; a field with ${JSON.stringify(delimiter)} or a line break in it stands in double quotes`
}

/**
 * What stands between a file's fields: Excel writes semicolons where commas are for decimals, some
 * call tabs csv. It is what the header has most of, unless the first line says it: `sep=;`.
 */
async function csvDelimiter(path: string, size: number) {
  let start = ""
  for await (const { bytes } of fileBytes(path, size)) {
    start = Buffer.from(bytes.subarray(0, MAX_HEADER_BYTES)).toString("utf8")
    break
  }
  const [, said] = /^\uFEFF?sep=(.)\r?(\n|$)/.exec(start) ?? []
  if (said !== undefined) return { delimiter: said, named: true }
  const header = start.replaceAll(/"[^"]*"/g, "").split(/[\r\n]/, 1)[0]!
  const usual = /\.tsv(\.gz|\.zst)?$/i.test(path) ? "\t" : ","
  const times = (each: string) => header.split(each).length
  const delimiter = [usual, ";", "\t", ","].reduce((a, b) => (times(b) > times(a) ? b : a))
  return { delimiter, named: false }
}

const MAX_HEADER_BYTES = 2 ** 16

/** Line numbers are row numbers, from 1. */
async function* parquetRows(path: string): AsyncGenerator<RawRows> {
  const { file, compressors, forget } = unpackedOnce(await asyncBufferFromFile(path))
  const metadata = await readable(path, () => parquetMetadataAsync(file))
  const floats = parquetFloats(metadata.schema)
  const total = Number(metadata.num_rows)
  if (
    !(total >= 0 && total < 2 ** 31) ||
    metadata.row_groups.some(({ num_rows }) => num_rows < 0n)
  ) {
    throw new InputError(`${path}: not a readable parquet file: it says that it has ${total} rows`)
  }
  let first = 0
  for (const group of metadata.row_groups) {
    const { num_rows, total_byte_size } = group
    forget()
    await readable(path, () => checkPages(file, group, { metadata, compressors }))
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
        parquetReadObjects({ file, metadata, compressors, rowStart, rowEnd, utf8: false }),
      )
      for (let from = 0; from < values.length; from += VALUE_ROWS) {
        const rows = values
          .slice(from, from + VALUE_ROWS)
          .map((value, i): RawRow => ({ line: rowStart + from + i + 1, value: row(value, floats) }))
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
    throw new InputError(
      `${path}: not a readable parquet file: ${foreign(await firstText(path)) ?? damageIn(error as Error)}`,
    )
  }
}

/** What JSON would have said of a row. */
const row = (value: unknown, floats: FloatColumns) => plain(value, floats, "")

/**
 * Whole numbers of 64 bits as numbers, bytes as text where they are; calls as text where numbers
 * lose.
 */
function plain(value: unknown, floats: FloatColumns, path: string): unknown {
  if (typeof value === "bigint") return Number(value)
  if (Array.isArray(value)) return value.map((item) => plain(item, floats, path))
  if (value instanceof Date) return value.toISOString()
  if (value instanceof Uint8Array) return textOrBytes(value)
  if (value instanceof DataView) return null
  if (ArrayBuffer.isView(value)) return Array.from(value as Float64Array, Number) // numbers
  if (!isObject(value)) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => {
      const at = joined(path, key)
      const read = plain(inner, floats, at)
      if (!CALL_KEYS.has(key)) return [key, read]
      const plainValue = (one: unknown) => plain(one, floats, at)
      return [key, exactText(inner, { floats, plain: plainValue }, at) ?? withoutNulls(read)]
    }),
  )
}

const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

/**
 * A column may hold text without saying so. Bytes are copied: a view takes its whole file along to
 * a thread.
 */
function textOrBytes(bytes: Uint8Array): string | Uint8Array {
  try {
    return strictUtf8.decode(bytes)
  } catch {
    return bytes.slice()
  }
}

/** The beginning of a file as text, to see what it is. */
async function firstText(path: string): Promise<string> {
  const file = await openToRead(path)
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(64), 0, 64, 0)
    return buffer.subarray(0, bytesRead).toString("latin1")
  } finally {
    await file.close()
  }
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
