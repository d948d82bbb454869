import type { DataFormat, NoiseConfig } from "../config/index.ts"
import { InputError } from "../errors.ts"
import { parseJsonLine } from "./json-text.ts"
import type { RowNote } from "./lints.ts"
import { noised } from "./noise.ts"
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
  /** Lines of rows that are left out. */
  readonly leftOut?: ReadonlySet<number>
  /** `noise` of the rows' source. */
  readonly noise?: NoiseConfig | undefined
  /** Lines of the rows that it makes wrong; left out, it draws each. */
  readonly noisy?: ReadonlySet<number> | undefined
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
  /** As of `ReadRowOptions`. */
  readonly pictures?: object | null
  /** Rows that say they are not to be trained are rendered too. */
  readonly showRefused?: boolean
}

/** A row of which the shape is known, before it is rendered. */
type Parsed = { readonly line: number } & (
  | { readonly reading: RowReading; readonly note?: "noise" | "noise-impossible" | undefined }
  | { readonly problem: string }
)

/** Parses, tells the shape of, and tokenises the rows of a batch, in the order of the file. */
export function* readBatch(
  batch: RawBatch,
  reading: ReadOptions,
  options: RenderOptions,
): Generator<ReadRow> {
  const { path, problems } = batch
  const parsed = parsedRows(batch, reading)
  let nextProblem = 0
  // noise may take another row's answer, so it reads the batch as a whole
  for (const row of batch.noise ? noisedRows([...parsed], batch) : parsed) {
    const { line } = row
    while (nextProblem < problems.length && problems[nextProblem]![0] < line) {
      yield unread(path, problems[nextProblem++]!)
    }
    yield "problem" in row ? row : rendered(row, reading, options, `${path}:${line}`)
  }
  for (const problem of problems.slice(nextProblem)) yield unread(path, problem)
}

/** Parses the rows that could be read at all, and tells their shape. */
export function* parsedRows(
  { path, lines, rows }: RawBatch,
  { purpose, format, columns, implicitPrompt, pictures }: Omit<ReadOptions, "showRefused">,
): Generator<Parsed> {
  for (const [i, line] of lines.entries()) {
    const where = `${path}:${line}`
    yield unlessWrong(line, () => {
      const value = rowValue(rows, i, where)
      return {
        line,
        reading: rowReading(value, {
          ...{ format, purpose, columns, implicitPrompt, where },
          pictures: Boolean(pictures),
        }),
      }
    })
  }
}

/** The rows that noise may change. */
export const trainedRows = (rows: Iterable<Parsed>) =>
  [...rows].flatMap((row) => ("reading" in row && !row.reading.refusal ? [row] : []))

function noisedRows(rows: readonly Parsed[], { noise, noisy, path }: RawBatch): readonly Parsed[] {
  const read = trainedRows(rows)
  const changed = noised(read, noise!, path, noisy)
  const byLine = new Map(read.map(({ line }, i) => [line, changed[i]!]))
  return rows.map((row) => ({ ...row, ...byLine.get(row.line) }))
}

function rendered(
  { line, reading, note }: Extract<Parsed, { reading: RowReading }>,
  { showRefused = false }: ReadOptions,
  options: RenderOptions,
  where: string,
): ReadRow {
  const { refusal, example } = reading
  const sides = () => withNoise(note, renderExample(example, options, where))
  return unlessWrong(line, () =>
    refusal === undefined
      ? { line, reading, sides: sides() }
      : { line, reading, refusal, sides: showRefused ? sides().map(untrained) : [] },
  )
}

function unlessWrong<Row>(line: number, read: () => Row): Row | { line: number; problem: string } {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof InputError)) throw error
    return { line, problem: error.message }
  }
}

const withNoise = (noise: RowNote | undefined, sides: readonly Rendered[]) =>
  noise ? sides.map((side) => ({ ...side, notes: [...side.notes, noise] })) : sides

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
