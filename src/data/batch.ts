import type { DataFormat, Supervise } from "../config/index.ts"
import { loadChatTemplate, loadTokenizer, stopTokenIds } from "../text/index.ts"
import { hashOf, rowHash } from "./hash.ts"
import { type AskedKind, trainedKind } from "./layout.ts"
import type { RowNote } from "./lints.ts"
import { pairFault } from "./pair-faults.ts"
import type { PlacedPicture } from "./pictures/index.ts"
import { type PictureSettings, pictureReader } from "./pictures/picture-files.ts"
import { type RawBatch, readBatch } from "./read-batch.ts"
import {
  layoutParts,
  type PlainTexts,
  promptText,
  type Rendered,
  type RenderOptions,
} from "./render.ts"
import { type Columns, isPaired, type Purpose } from "./rows/index.ts"
import type { RowBatch } from "./shard-writer.ts"
import { unusedKeysOf } from "./unwritten.ts"

/**
 * Everything that decides how a row becomes tokens; plain data, so that it can cross to a worker.
 */
export interface BatchSetup {
  /** Folder with the tokenizer's files. */
  readonly tokenizer: string
  /** Path of a .jinja file in place of the model's own template. */
  readonly templateFile: string | null
  readonly plainTexts: PlainTexts
  readonly purpose: Purpose
  readonly format: DataFormat
  readonly columns: Columns
  readonly implicitPrompt: boolean
  /** A pair with an answer longer than maxLength. */
  readonly onLongPair: "drop" | "truncate"
  readonly supervise: Supervise
  readonly maxLength: number
  /** How pictures are read; null where the model reads none. */
  readonly pictures: PictureSettings | null
  /** The day that a template which asks for it is told (YYYY-MM-DD); null where none asks. */
  readonly day: string | null
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
  /** As the batch said. */
  readonly leftOut: readonly number[]
  readonly bad: readonly (readonly [line: number, message: string])[]
  readonly notes: Readonly<Partial<Record<RowNote, readonly number[]>>>
  /** Lines of rows that say they are not to be trained, by what they say. */
  readonly untrained: Readonly<Record<string, readonly number[]>>
  /** Lines of rows with a key that nothing was made of, by key. */
  readonly unused: Readonly<Record<string, readonly number[]>>
  /** Of kept rows that have some. */
  readonly pictures: readonly (readonly [line: number, pictures: readonly PlacedPicture[]])[]
  /** Kept rows by how they were laid out. */
  readonly layouts: Readonly<Record<AskedKind, number>>
}

/** Loads what rendering needs; the folder is read again in each worker. */
export async function renderOptionsOf(setup: BatchSetup): Promise<RenderOptions> {
  const { pictures } = setup
  const tokenizer = await loadTokenizer(setup.tokenizer)
  return {
    tokenizer,
    template: await loadChatTemplate(setup.tokenizer, {
      ...(setup.templateFile === null ? {} : { file: setup.templateFile }),
      inParts: pictures !== null,
    }),
    pictures: pictures === null ? undefined : pictureReader(pictures, tokenizer),
    plainTexts: setup.plainTexts,
    ...(setup.day === null ? {} : { now: noonOf(setup.day) }),
    supervise: setup.supervise,
    maxLength: setup.maxLength,
    stopIds: await stopTokenIds(setup.tokenizer, tokenizer),
  }
}

/** The middle of a day, which is that day in every time zone's own hours. */
const noonOf = (day: string): Date => new Date(`${day}T12:00:00`)

/** Makes the function that turns raw rows into tokens, masks and counts. */
export async function batchPreparer(setup: BatchSetup): Promise<(batch: RawBatch) => BatchResult> {
  const options = await renderOptionsOf(setup)
  return (batch) => prepareBatch(batch, setup, options)
}

/** A row that is trained. */
interface KeptRow {
  readonly line: number
  readonly sides: readonly Rendered[]
  readonly prompt: string
  readonly weight: number
  readonly value: number | undefined
}

function prepareBatch(batch: RawBatch, setup: BatchSetup, options: RenderOptions): BatchResult {
  const kept: KeptRow[] = []
  const pictures: [number, readonly PlacedPicture[]][] = []
  const dropped: number[] = []
  const leftOut: number[] = []
  const bad: [number, string][] = []
  const notes: Partial<Record<RowNote, number[]>> = {}
  const untrained: Record<string, number[]> = {}
  const unused: Record<string, number[]> = {}
  const layouts = { template: 0, question: 0, plain: 0, text: 0 }
  let truncated = 0
  let supervised = 0
  for (const row of readBatch(batch, setup, options)) {
    const { line } = row
    if (batch.leftOut?.has(line)) {
      leftOut.push(line)
      continue
    }
    if ("problem" in row) {
      bad.push([line, row.problem])
      continue
    }
    const { reading } = row
    for (const key of unusedKeysOf(reading, options.template)) note(unused, key, line)
    if ("refusal" in row) {
      note(untrained, row.refusal, line)
      continue
    }
    const { sides } = row
    if (sides.some((side) => side.truncated)) truncated++
    const fault = pairFault(sides, setup.onLongPair)
    if (fault) {
      note(notes, fault, line)
      continue
    }
    if (sides.some((side) => side.supervised === 0)) {
      dropped.push(line)
      continue
    }
    for (const name of new Set(sides.flatMap((side) => side.notes))) note(notes, name, line)
    for (const side of sides) supervised += side.supervised
    layouts[trainedKind(reading.example, layoutParts(options))]++
    const seen = sides[0]?.pictures ?? [] // a pair's stand in what is asked, which its sides share
    if (seen.length > 0) pictures.push([line, seen])
    const { weight, value } = reading
    const prompt = promptText(reading.example) + seen.map(({ sha256 }) => sha256).join("")
    kept.push({ line, sides, prompt, weight, value })
  }
  return {
    ...keptRows(kept, isPaired(setup.purpose) ? 2 : 1),
    pictures,
    supervised,
    truncated,
    dropped,
    leftOut,
    bad,
    notes,
    untrained,
    unused,
    layouts,
  }
}

function keptRows(
  kept: readonly KeptRow[],
  sideCount: number,
): Pick<BatchResult, "sides" | "rowHashes" | "promptHashes"> {
  const sides = Array.from({ length: sideCount }, (_, side) =>
    rowBatch(
      kept.map((row) => row.sides[side]!),
      kept.map(({ line }) => line),
      kept.map(({ weight }) => weight),
      kept.flatMap(({ value }) => value ?? []),
    ),
  )
  return {
    sides,
    rowHashes: BigInt64Array.from(kept, ({ sides }) => rowHash(sides)),
    promptHashes: BigInt64Array.from(kept, ({ prompt }) => hashOf(prompt)),
  }
}

/** Keys are a file's own, so that one may be called `__proto__`. */
function note(lists: Partial<Record<string, number[]>>, name: string, line: number): void {
  if (Object.hasOwn(lists, name)) lists[name]!.push(line)
  else Object.defineProperty(lists, name, { value: [line], enumerable: true })
}

function rowBatch(
  rows: readonly Rendered[],
  lines: readonly number[],
  weights: readonly number[],
  values: readonly number[],
): RowBatch {
  const tokens = rows.reduce((sum, { tokenIds }) => sum + tokenIds.length, 0)
  const batch: RowBatch = {
    tokenIds: new Int32Array(tokens),
    lossMask: new Uint8Array(tokens),
    tokenClass: new Uint8Array(tokens),
    lengths: Int32Array.from(rows, ({ tokenIds }) => tokenIds.length),
    lines: Int32Array.from(lines),
    weights: Float32Array.from(weights),
    ...(values.length > 0 ? { values: Float32Array.from(values) } : {}),
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

/** Buffers of a result that a worker may hand over without copying. */
export function transferables(result: BatchResult): ArrayBuffer[] {
  const arrays = [
    ...result.sides.flatMap(
      (side) => Object.values(side) as (Int32Array | Uint8Array | Float32Array)[],
    ),
    result.rowHashes,
    result.promptHashes,
  ]
  return arrays.map(({ buffer }) => buffer as ArrayBuffer)
}
