import type { DataFormat } from "../config/index.ts"
import { InputError } from "../errors.ts"
import { type Rendered, type RenderOptions, renderExample } from "./render.ts"
import { type Example, type Purpose, readRow } from "./row-shapes.ts"

/** Rows of one file, as they were read. */
export interface RawBatch {
  /** The file, for messages. */
  readonly path: string
  /** Of each row. */
  readonly lines: readonly number[]
  readonly rows:
    | { readonly kind: "json"; readonly bytes: Uint8Array; readonly ends: Int32Array }
    | { readonly kind: "values"; readonly values: readonly unknown[] }
  /** Rows that could not be read at all. */
  readonly problems: readonly (readonly [line: number, message: string])[]
}

/** A row that became sequences, or why it did not. */
export type ReadRow = { readonly line: number } & (
  | { readonly example: Example; readonly sides: readonly Rendered[] }
  | { readonly problem: string }
)

/** Parses, tells the shape of, and tokenises the rows of a batch, in the order of the file. */
export function* readBatch(
  { path, lines, rows, problems }: RawBatch,
  { purpose, format }: { readonly purpose: Purpose; readonly format: DataFormat },
  options: RenderOptions,
): Generator<ReadRow> {
  let nextProblem = 0
  for (const [i, line] of lines.entries()) {
    while (nextProblem < problems.length && problems[nextProblem]![0] < line) {
      yield unread(path, problems[nextProblem++]!)
    }
    const where = `${path}:${line}`
    let row: ReadRow
    try {
      const example = readRow(rowValue(rows, i, where), { format, purpose, where })
      row = { line, example, sides: renderExample(example, options, where) }
    } catch (error) {
      if (!(error instanceof InputError)) throw error
      row = { line, problem: error.message }
    }
    yield row
  }
  for (const problem of problems.slice(nextProblem)) yield unread(path, problem)
}

/** The parsed rows alone, before their shape is told. Throws at the first that cannot be read. */
export function* rawValues({ path, lines, rows, problems }: RawBatch): Generator<{
  readonly line: number
  readonly value: unknown
}> {
  const [problem] = problems
  if (problem !== undefined) throw new InputError(`${path}:${problem[0]}: ${problem[1]}`)
  for (const [i, line] of lines.entries())
    yield { line, value: rowValue(rows, i, `${path}:${line}`) }
}

function unread(path: string, [line, message]: readonly [number, string]): ReadRow {
  return { line, problem: `${path}:${line}: ${message}` }
}

const UTF8 = new TextDecoder("utf-8", { fatal: true })

function rowValue(rows: RawBatch["rows"], i: number, where: string): unknown {
  if (rows.kind === "values") return rows.values[i]
  const bytes = rows.bytes.subarray(i === 0 ? 0 : rows.ends[i - 1]!, rows.ends[i])
  let text: string
  try {
    text = UTF8.decode(bytes)
  } catch {
    throw new InputError(`${where}: expected UTF-8 text, got bytes that are not UTF-8`)
  }
  return parseJsonLine(text, where)
}

function parseJsonLine(text: string, where: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    // V8 quotes the text itself; the position is what helps
    const at = /position (\d+)/.exec((error as Error).message)
    const place =
      at === null ? "the line ends too early" : `it goes wrong at character ${Number(at[1]) + 1}`
    throw new InputError(`${where}: expected a JSON object on this line; ${place}`)
  }
}
