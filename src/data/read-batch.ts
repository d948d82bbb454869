import type { DataFormat } from "../config/index.ts"
import { InputError } from "../errors.ts"
import { parseJsonLine } from "./json-text.ts"
import { type Rendered, type RenderOptions, renderExample } from "./render.ts"
import { type Columns, type Purpose, type RowReading, rowReading } from "./rows/index.ts"

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
  | { readonly reading: RowReading; readonly sides: readonly Rendered[] }
  /** It says that it is not to be trained. */
  | {
      readonly reading: RowReading
      readonly refusal: string
      /** Only where `showRefused` asks for them; nothing in them is trained. */
      readonly sides: readonly Rendered[]
    }
  | { readonly problem: string }
)

/** How rows are told apart and read. */
export interface ReadOptions {
  readonly purpose: Purpose
  readonly format: DataFormat
  readonly columns: Columns
  readonly implicitPrompt: boolean
  /** Rows that say they are not to be trained are rendered too. */
  readonly showRefused?: boolean
}

/** Parses, tells the shape of, and tokenises the rows of a batch, in the order of the file. */
export function* readBatch(
  { path, lines, rows, problems }: RawBatch,
  { purpose, format, columns, implicitPrompt, showRefused = false }: ReadOptions,
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
      const value = rowValue(rows, i, where)
      const reading = rowReading(value, { format, purpose, columns, implicitPrompt, where })
      const { refusal, example } = reading
      const render = () => withNotes(reading, renderExample(example, options, where))
      row =
        refusal === undefined
          ? { line, reading, sides: render() }
          : { line, reading, refusal, sides: showRefused ? render().map(untrained) : [] }
    } catch (error) {
      if (!(error instanceof InputError)) throw error
      row = { line, problem: error.message }
    }
    yield row
  }
  for (const problem of problems.slice(nextProblem)) yield unread(path, problem)
}

const withNotes = ({ media }: RowReading, sides: readonly Rendered[]): readonly Rendered[] =>
  media.length === 0
    ? sides
    : sides.map((side) => ({ ...side, notes: [...side.notes, "dropped-media" as const] }))

const untrained = (side: Rendered): Rendered => ({
  ...side,
  lossMask: side.lossMask.map(() => 0),
  supervised: 0,
  notes: [],
})

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
