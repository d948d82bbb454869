import { closeSync, openSync, readSync } from "node:fs"
import { join } from "node:path"
import { assert, InputError } from "../errors.ts"
import { isObject } from "../formats/json.ts"
import { readError, readJsonObject } from "../formats/json-files.ts"
import type { TensorEntry } from "../formats/safetensors.ts"
import { openSafetensors } from "../formats/safetensors-files.ts"
import type { AskedKind } from "./layout.ts"
import type { Lint } from "./lints.ts"
import { isPaired, type Purpose } from "./rows/index.ts"

/** Raised when the layout of a prepared folder changes. 1, of dftune 0.1.0, is read still. */
export const PREPARED_VERSION = 2
const READABLE = [1, PREPARED_VERSION]

/** `manifest.json` of a prepared folder (docs/architecture.md, seam 1). */
export interface Manifest {
  readonly version: number
  /** SHA-256 of everything that the rows were made from. */
  readonly key: string
  readonly purpose: Purpose
  readonly rows: number
  /** Of both answers, for preference rows. */
  readonly tokens: number
  readonly supervised_tokens: number
  /** One a file, in the order of the rows. */
  readonly sources: readonly PreparedSource[]
  readonly shards: readonly { file: string; rows: number; tokens: number; sha256: string }[]
  /** Rows by how their questions were laid out; version 1 does not say it. */
  readonly layouts?: Readonly<Record<AskedKind, number>>
  /** What the rows are (`rowsHasher`); version 1 does not say it. */
  readonly rows_sha256?: string
  /** Of pictures.jsonl; left out where no row has a picture. */
  readonly pictures_sha256?: string
  /** Of hashes.safetensors; version 1 does not say it. */
  readonly hashes_sha256?: string
  /** The files that the rows come from, as they were. */
  readonly files?: readonly { readonly path: string; readonly sha256: string }[]
  /** SHA-256 of the tokenizer's files. */
  readonly tokenizer: string
  readonly template_sha256: string | null
  readonly options: Readonly<Record<string, unknown>>
  readonly lints: readonly Lint[]
}

export interface PreparedSource {
  readonly path: string
  /** Rows kept. */
  readonly rows: number
  /** Rows left out because no supervised token was left. */
  readonly dropped: number
  /** Rows skipped because they could not be read (on_bad_row: skip). */
  readonly bad: number
  /** Rows cut at max_length. */
  readonly truncated: number
  /** Rows that say they are not to be trained; left out where there are none. */
  readonly untrained?: number
  readonly weight: number
}

/** One sequence. */
export interface PreparedRow {
  /** [T] */
  readonly tokenIds: Int32Array
  /** [T] 1 where the token is a supervised target; the first token never is. */
  readonly lossMask: Uint8Array
  /** [T] 0 content, 1 end of turn, 2 other special or template token. */
  readonly tokenClass: Uint8Array
  /** Path of the file it came from. */
  readonly source: string
  /** From 1. */
  readonly line: number
  /** How often the row counts, in the loss and in what it is divided by; 1 for most. */
  readonly weight: number
  /**
   * 1 or 0 of labelled answers, the reward of rewarded ones, the margin of pairs to score; 0 of
   * others.
   */
  readonly value: number
}

/** Random access to a prepared folder; rows are read when asked for. */
export interface Prepared {
  readonly dir: string
  readonly manifest: Manifest
  readonly rows: number
  /** Tokens of each row; of a preference row, of both its answers together. */
  readonly lengths: Int32Array
  /** The sequences of a row: one, or the chosen and the rejected one. */
  sequences(index: number): PreparedRow[]
  /** Tokens of each of them, without reading them. */
  sequenceLengths(index: number): number[]
  /** Row `index` of data with one sequence a row. */
  row(index: number): PreparedRow
  /** Row `index` of preference data. */
  pair(index: number): { readonly chosen: PreparedRow; readonly rejected: PreparedRow }
  /** `file:line` of a row. */
  place(index: number): string
  close(): void
}

const SIDES = {
  supervised: [""],
  preference: ["chosen.", "rejected."],
  labels: [""],
  rewards: [""],
  scores: ["chosen.", "rejected."],
} as const satisfies Readonly<Record<Purpose, readonly string[]>>

/** The names before the tensors of a shard. */
export function sidesOf(purpose: Purpose): readonly string[] {
  return SIDES[purpose]
}

interface Side {
  /** [R + 1] */
  readonly offsets: Float64Array
  readonly source: Int32Array
  readonly line: Int32Array
  /** null: 1 for every row. */
  readonly weight: Float32Array | null
  /** null where rows have neither label nor reward. */
  readonly value: Float32Array | null
  /** Where the first token lies in the file. */
  readonly tokenIdsAt: number
  readonly lossMaskAt: number
  readonly tokenClassAt: number
}

interface Shard {
  readonly path: string
  readonly firstRow: number
  readonly rows: number
  readonly sides: readonly Side[]
}

/**
 * Opens a prepared folder.
 *
 * @throws InputError when a file is missing, damaged, or not what the manifest says.
 */
export async function openPrepared(dir: string): Promise<Prepared> {
  const manifest = await readManifest(dir)
  const shards: Shard[] = []
  let firstRow = 0
  for (const shard of manifest.shards) {
    shards.push(await openShard(join(dir, shard.file), manifest, firstRow, shard.rows))
    firstRow += shard.rows
  }
  if (firstRow !== manifest.rows) {
    throw new InputError(
      `${join(dir, "manifest.json")}: says ${String(manifest.rows)} rows, its shards have ${firstRow}; delete the folder and prepare the data again`,
    )
  }
  const lengths = new Int32Array(manifest.rows)
  for (const { firstRow: first, rows, sides } of shards) {
    for (const { offsets } of sides) {
      for (let r = 0; r < rows; r++) lengths[first + r]! += offsets[r + 1]! - offsets[r]!
    }
  }
  const locate = (index: number): Shard => {
    assert(index >= 0 && index < manifest.rows, `row ${index} of ${manifest.rows}`)
    let low = 0
    let high = shards.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if (shards[middle]!.firstRow <= index) low = middle
      else high = middle - 1
    }
    return shards[low]!
  }
  const files = openFiles()
  for (const { path } of shards.slice(0, MAX_OPEN)) files.file(path) // readable when deleted
  const read = (index: number, side: number): PreparedRow => {
    const shard = locate(index)
    const readAt = (target: Uint8Array, position: number) =>
      readBytes(files.file(shard.path), shard.path, target, position)
    return readRow(readAt, shard.sides[side]!, index - shard.firstRow, manifest)
  }
  return {
    dir,
    manifest,
    rows: manifest.rows,
    lengths,
    sequences: (index) => SIDES[manifest.purpose].map((_, side) => read(index, side)),
    sequenceLengths(index) {
      const { sides, firstRow: first } = locate(index)
      return sides.map(({ offsets }) => offsets[index - first + 1]! - offsets[index - first]!)
    },
    row(index) {
      assert(!isPaired(manifest.purpose), "row() of preference data; use pair()")
      return read(index, 0)
    },
    pair(index) {
      assert(isPaired(manifest.purpose), "pair() of supervised data; use row()")
      return { chosen: read(index, 0), rejected: read(index, 1) }
    },
    place(index) {
      const { sides, firstRow: first } = locate(index)
      const { source, line } = sides[0]!
      return `${manifest.sources[source[index - first]!]!.path}:${line[index - first]}`
    },
    close: files.close,
  }
}

/** Reads and checks `manifest.json`. */
export async function readManifest(dir: string): Promise<Manifest> {
  const path = join(dir, "manifest.json")
  const manifest = await readJsonObject(path)
  if (!READABLE.includes(manifest.version as number)) {
    throw new InputError(
      `${path}: expected version ${PREPARED_VERSION}, got ${String(manifest.version)}; prepare the data again`,
    )
  }
  const { shards, sources, purpose } = manifest
  const named =
    Array.isArray(shards) &&
    shards.every(
      (shard: unknown) =>
        isObject(shard) &&
        typeof shard.file === "string" &&
        /^shard-\d{5}\.safetensors$/.test(shard.file),
    )
  const placed =
    Array.isArray(sources) &&
    sources.every((source: unknown) => isObject(source) && typeof source.path === "string")
  if (!named || !placed || !Object.hasOwn(SIDES, String(purpose))) {
    throw new InputError(`${path}: damaged; delete the folder and prepare the data again`)
  }
  return manifest as unknown as Manifest
}

async function openShard(
  path: string,
  manifest: Manifest,
  firstRow: number,
  rows: number,
): Promise<Shard> {
  const reader = await openSafetensors(path)
  try {
    const sides: Side[] = []
    for (const prefix of SIDES[manifest.purpose]) {
      const entry = (name: string, dtype: string): TensorEntry => {
        const found = reader.tensors.get(`${prefix}${name}`)
        if (found?.dtype === dtype && found.shape.length === 1) return found
        throw new InputError(
          `${path}: expected tensor "${prefix}${name}" of ${dtype}; prepare the data again`,
        )
      }
      const bigOffsets = new BigInt64Array((await reader.read(`${prefix}row_offsets`)).buffer)
      const offsets = new Float64Array(bigOffsets.length)
      for (let i = 0; i < offsets.length; i++) offsets[i] = Number(bigOffsets[i])
      const tokenIds = entry("token_ids", "I32")
      const [lossMask, tokenClass] = [entry("loss_mask", "U8"), entry("token_class", "U8")]
      const source = new Int32Array((await reader.read(`${prefix}row_source`)).buffer)
      const line = new Int32Array((await reader.read(`${prefix}row_line`)).buffer)
      const weight = reader.tensors.has(`${prefix}row_weight`)
        ? new Float32Array((await reader.read(`${prefix}row_weight`)).buffer)
        : null
      const value = reader.tensors.has(`${prefix}row_value`)
        ? new Float32Array((await reader.read(`${prefix}row_value`)).buffer)
        : null
      const tokens = tokenIds.shape[0]!
      const ordered = offsets.every((offset, i) => offset >= (i === 0 ? 0 : offsets[i - 1]!))
      const fits =
        entry("row_offsets", "I64").shape[0] === rows + 1 &&
        entry("row_source", "I32").shape[0] === rows &&
        entry("row_line", "I32").shape[0] === rows &&
        lossMask.shape[0] === tokens &&
        tokenClass.shape[0] === tokens &&
        (weight === null || weight.length === rows) &&
        (value === null || value.length === rows) &&
        offsets[0] === 0 &&
        offsets[rows] === tokens
      if (
        !ordered ||
        !fits ||
        source.some((index) => index < 0 || index >= manifest.sources.length)
      ) {
        throw new InputError(`${path}: its tensors do not fit together; prepare the data again`)
      }
      sides.push({
        offsets,
        source,
        line,
        weight,
        value,
        tokenIdsAt: tokenIds.begin,
        lossMaskAt: lossMask.begin,
        tokenClassAt: tokenClass.begin,
      })
    }
    return { path, firstRow, rows, sides }
  } finally {
    await reader.close()
  }
}

/** No more shards are open at once than a process may have files. */
const MAX_OPEN = 256

function openFiles() {
  const open = new Map<string, number>()
  return {
    file: (path: string): number => {
      const found = open.get(path)
      if (found !== undefined) return found
      const [first] = open
      if (open.size >= MAX_OPEN && first !== undefined) {
        closeSync(first[1])
        open.delete(first[0])
      }
      try {
        const file = openSync(path, "r")
        open.set(path, file)
        return file
      } catch (error) {
        throw readError(error, path)
      }
    },
    close: (): void => {
      for (const file of open.values()) closeSync(file)
      open.clear()
    },
  }
}

type ReadAt = (target: Uint8Array, position: number) => void

function readRow(readAt: ReadAt, side: Side, r: number, manifest: Manifest): PreparedRow {
  const start = side.offsets[r]!
  const length = side.offsets[r + 1]! - start
  const tokenIds = new Int32Array(length)
  const lossMask = new Uint8Array(length)
  const tokenClass = new Uint8Array(length)
  readAt(new Uint8Array(tokenIds.buffer), side.tokenIdsAt + 4 * start)
  readAt(lossMask, side.lossMaskAt + start)
  readAt(tokenClass, side.tokenClassAt + start)
  const source = manifest.sources[side.source[r]!]?.path
  if (source === undefined) {
    throw new InputError(`row ${r} of the prepared data is of no file; prepare the data again`)
  }
  const weight = side.weight === null ? 1 : side.weight[r]!
  const value = side.value === null ? 0 : side.value[r]!
  return { tokenIds, lossMask, tokenClass, source, line: side.line[r]!, weight, value }
}

function readBytes(file: number, path: string, target: Uint8Array, position: number): void {
  for (let done = 0; done < target.length; ) {
    const read = readSync(file, target, done, target.length - done, position + done)
    if (read === 0) throw new InputError(`${path}: the file ended while it was read`)
    done += read
  }
}
