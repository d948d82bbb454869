import type { Config } from "../config/resolve-config.ts"
import type { PreparedRow } from "../data/prepared.ts"
import { type RawBatch, readBatch } from "../data/read-batch.ts"
import type { RenderOptions } from "../data/render.ts"
import { InputError } from "../errors.ts"
import { parseJson } from "../formats/json.ts"

/** Rows as training reads them, in memory. */
export interface TabRows {
  readonly rows: number
  /** Tokens of each row. */
  readonly lengths: Int32Array
  readonly supervisedTokens: number
  row(index: number): PreparedRow
  /** The row, as the loop takes rows of any purpose. */
  sequences(index: number): PreparedRow[]
  sequenceLengths(index: number): number[]
  /** Rows that gave no supervised token, by their line. */
  readonly dropped: readonly number[]
  /** Rows that say they are not to be trained, by their line. */
  readonly refused: readonly number[]
  /** Rows cut at `max_length`. */
  readonly truncated: number
}

/** More rows than a person pastes. */
const MOST_ROWS = 100_000

/**
 * Text as rows: a JSON list, or one JSON value a line.
 *
 * @throws InputError naming the line
 */
export function rowValues(written: string, where: string): { values: unknown[]; lines: number[] } {
  const text = written.replace(/^\uFEFF/, "") // a byte order mark says nothing
  if (text.trimStart().startsWith("[")) {
    const values = parseJson(text, where) as unknown[]
    return { values, lines: values.map((_, i) => i + 1) }
  }
  const values: unknown[] = []
  const lines: number[] = []
  for (const [i, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue
    values.push(parseJson(line, `${where}:${i + 1}`))
    lines.push(i + 1)
  }
  return { values, lines }
}

/**
 * Tokenises rows of any shape that training takes (docs/data.md), as `dftune train` does.
 *
 * @param name stands for the file in messages
 * @throws InputError for a row that is wrong, naming its line, and where none is left to train on
 */
export function tabRows(
  name: string,
  { values, lines }: { readonly values: readonly unknown[]; readonly lines: readonly number[] },
  { data }: Pick<Config, "data">,
  rendering: Pick<RenderOptions, "tokenizer" | "template" | "stopIds">,
): TabRows {
  if (values.length > MOST_ROWS) {
    throw new InputError(`${name}: at most ${MOST_ROWS} rows, got ${values.length}`)
  }
  const batch: RawBatch = { path: name, lines, rows: { kind: "values", values }, problems: [] }
  const options: RenderOptions = {
    ...rendering,
    plainTexts: data.template === true ? "all" : data.template === "none" ? "none" : "auto",
    supervise: data.supervise,
    maxLength: data.max_length,
  }
  const kept: PreparedRow[] = []
  const dropped: number[] = []
  const refused: number[] = []
  let truncated = 0
  let supervisedTokens = 0
  const reading = {
    purpose: "supervised",
    format: data.format,
    columns: data.columns,
    implicitPrompt: data.implicit_prompt,
  } as const
  for (const row of readBatch(batch, reading, options)) {
    if ("problem" in row) throw new InputError(row.problem)
    if ("refusal" in row) {
      refused.push(row.line)
      continue
    }
    const [side] = row.sides
    if (side!.truncated) truncated++
    if (side!.supervised === 0) {
      dropped.push(row.line)
      continue
    }
    supervisedTokens += side!.supervised
    kept.push({
      tokenIds: Int32Array.from(side!.tokenIds),
      lossMask: Uint8Array.from(side!.lossMask),
      tokenClass: Uint8Array.from(side!.tokenClass),
      source: name,
      line: row.line,
      weight: row.reading.weight,
      value: 0,
    })
  }
  if (kept.length === 0) {
    const cut = truncated > 0 ? ` (rows are cut at ${data.max_length} tokens: data.max_length)` : ""
    throw new InputError(
      `${name}: expected at least one row with a supervised token, got ${values.length} without${cut}`,
    )
  }
  return {
    rows: kept.length,
    lengths: Int32Array.from(kept, ({ tokenIds }) => tokenIds.length),
    supervisedTokens,
    row: (index) => kept[index]!,
    sequences: (index) => [kept[index]!],
    sequenceLengths: (index) => [kept[index]!.tokenIds.length],
    dropped,
    refused,
    truncated,
  }
}
