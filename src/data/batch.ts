import { createHash } from "node:crypto"
import type { DataFormat, Supervise } from "../run/config.ts"
import { InputError } from "../run/errors.ts"
import { loadTokenizer } from "../text/index.ts"
import type { RowNote } from "./lints.ts"
import { promptText, type Rendered, type RenderOptions, renderExample } from "./render.ts"
import { type Purpose, readRow } from "./row-shapes.ts"
import type { RowBatch } from "./shard-writer.ts"
import { stopTokenIds } from "./stop-tokens.ts"

/** Everything that decides how a row becomes tokens; plain data, so that it can cross to a worker. */
export interface BatchSetup {
  /** Folder with the tokenizer's files. */
  readonly tokenizer: string
  /** Path of a .jinja file in place of the model's own template. */
  readonly templateFile: string | null
  readonly templateForPlain: boolean
  readonly purpose: Purpose
  readonly format: DataFormat
  readonly supervise: Supervise
  readonly maxLength: number
}

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

/** What became of them. Lists of lines are in the order of the file. */
export interface BatchResult {
  /** The kept rows: one side, or chosen and rejected. */
  readonly sides: readonly RowBatch[]
  /** Of each kept row: its tokens, and its question. */
  readonly rowHashes: BigInt64Array
  readonly promptHashes: BigInt64Array
  readonly supervised: number
  readonly truncated: number
  readonly dropped: readonly number[]
  readonly bad: readonly (readonly [line: number, message: string])[]
  readonly notes: Readonly<Partial<Record<RowNote, readonly number[]>>>
}

/** Loads what rendering needs; the folder is read again in each worker. */
export async function renderOptionsOf(setup: BatchSetup): Promise<RenderOptions> {
  const tokenizer = await loadTokenizer(setup.tokenizer)
  return {
    tokenizer,
    template: null,
    templateForPlain: setup.templateForPlain,
    supervise: setup.supervise,
    maxLength: setup.maxLength,
    stopIds: await stopTokenIds(setup.tokenizer, tokenizer),
  }
}

/** Makes the function that turns raw rows into tokens, masks and counts. */
export async function batchPreparer(setup: BatchSetup): Promise<(batch: RawBatch) => BatchResult> {
  const options = await renderOptionsOf(setup)
  return (batch) => prepareBatch(batch, setup, options)
}

function prepareBatch(
  { path, lines, rows, problems }: RawBatch,
  { purpose, format }: BatchSetup,
  options: RenderOptions,
): BatchResult {
  const kept: { readonly line: number; readonly sides: Rendered[]; readonly prompt: string }[] = []
  const dropped: number[] = []
  const bad: [number, string][] = problems.map(([line, message]) => [
    line,
    `${path}:${line}: ${message}`,
  ])
  const notes: Partial<Record<RowNote, number[]>> = {}
  let truncated = 0
  let supervised = 0
  for (const [i, line] of lines.entries()) {
    const where = `${path}:${line}`
    try {
      const example = readRow(valueOf(rows, i, where), { format, purpose, where })
      const sides = renderExample(example, options, where)
      if (sides.some((side) => side.truncated)) truncated++
      if (sides.some((side) => side.supervised === 0)) {
        dropped.push(line)
        continue
      }
      for (const note of new Set(sides.flatMap((side) => side.notes))) {
        notes[note] ??= []
        notes[note].push(line)
      }
      for (const side of sides) supervised += side.supervised
      kept.push({ line, sides, prompt: promptText(example) })
    } catch (error) {
      if (!(error instanceof InputError)) throw error
      bad.push([line, error.message])
    }
  }
  const sideCount = purpose === "preference" ? 2 : 1
  const sides = Array.from({ length: sideCount }, (_, side) =>
    rowBatch(
      kept.map((row) => row.sides[side]!),
      kept.map(({ line }) => line),
    ),
  )
  return {
    sides,
    rowHashes: BigInt64Array.from(kept, (row) =>
      hashOf(...row.sides.map((side) => Int32Array.from(side.tokenIds))),
    ),
    promptHashes: BigInt64Array.from(kept, ({ prompt }) => hashOf(prompt)),
    supervised,
    truncated,
    dropped,
    bad: bad.sort(([a], [b]) => a - b),
    notes,
  }
}

const UTF8 = new TextDecoder("utf-8", { fatal: true })

function valueOf(rows: RawBatch["rows"], i: number, where: string): unknown {
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

function rowBatch(rows: readonly Rendered[], lines: readonly number[]): RowBatch {
  const tokens = rows.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0)
  const batch: RowBatch = {
    tokenIds: new Int32Array(tokens),
    lossMask: new Uint8Array(tokens),
    tokenClass: new Uint8Array(tokens),
    lengths: Int32Array.from(rows, ({ tokenIds }) => tokenIds.length),
    lines: Int32Array.from(lines),
  }
  let at = 0
  for (const { tokenIds, lossMask, tokenClass } of rows) {
    batch.tokenIds.set(tokenIds, at)
    batch.lossMask.set(lossMask, at)
    batch.tokenClass.set(tokenClass, at)
    at += tokenIds.length
  }
  return batch
}

/** 64 bits of SHA-256: two rows of a million share one by chance with probability 3e-8. */
function hashOf(...parts: readonly (string | Int32Array)[]): bigint {
  const hash = createHash("sha256")
  for (const part of parts)
    hash.update(typeof part === "string" ? part : new Uint8Array(part.buffer))
  return hash.digest().readBigInt64LE(0)
}

/** Buffers of a result that a worker may hand over without copying. */
export function transferables(result: BatchResult): ArrayBuffer[] {
  const arrays = [
    ...result.sides.flatMap((side) => Object.values(side) as (Int32Array | Uint8Array)[]),
    result.rowHashes,
    result.promptHashes,
  ]
  return arrays.map(({ buffer }) => buffer as ArrayBuffer)
}
