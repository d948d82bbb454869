import { createHash } from "node:crypto"
import { copyFile, mkdir, rm } from "node:fs/promises"
import { dirname, join } from "node:path"
import { InputError } from "../errors.ts"
import { removeLeft, temporaryName } from "../formats/atomic.ts"
import {
  fileHash,
  openSafetensors,
  type TensorReader,
  type TensorToWrite,
  writeFileAtomic,
  writeSafetensors,
} from "../formats/index.ts"
import { rowsPerEpoch } from "./order.ts"
import { hashWithPictures, PICTURES_FILE } from "./pictures/picture-table.ts"
import { type PreparedData, publish } from "./prepare.ts"
import { type Manifest, sidesOf } from "./prepared.ts"
import { preparedState } from "./prepared-check.ts"
import { HASHES_FILE, promptHashes } from "./row-hashes.ts"
import { hashOfRows } from "./rows-hash.ts"

export interface HeldOutOptions {
  /** Below 1 a share of the rows, from 1 on their number (`data.eval_split`). */
  readonly split: number
  readonly seed: number
}

/**
 * Takes rows out of the training rows, to measure on: chosen by the seed, prompt by prompt, so that
 * all rows of a prompt are on one side. Each side is a prepared folder like any other.
 *
 * @throws InputError when nothing would be left to train
 */
export async function heldOut(
  prepared: PreparedData,
  options: HeldOutOptions,
): Promise<{ readonly train: PreparedData; readonly held: PreparedData }> {
  const isHeld = await chosenRows(prepared, options)
  const side = (name: "train" | "held", keeps: (row: number) => boolean) =>
    partOf(prepared, { name, keeps, options })
  return {
    train: await side("train", (row) => isHeld[row] === 0),
    held: await side("held", (row) => isHeld[row] === 1),
  }
}

/** [R] 1 for the rows that are held out. */
async function chosenRows(
  { dir, manifest }: PreparedData,
  { split, seed }: HeldOutOptions,
): Promise<Uint8Array> {
  const wanted = split < 1 ? Math.round(split * manifest.rows) : split
  const rowsOf = new Map<bigint, number[]>()
  for (const [row, prompt] of (await promptHashes(dir)).entries()) {
    const rows = rowsOf.get(prompt)
    if (rows === undefined) rowsOf.set(prompt, [row])
    else rows.push(row)
  }
  const drawn = [...rowsOf.keys()]
    .map((prompt) => ({ prompt, at: drawOf(seed, prompt) }))
    .sort((a, b) => (a.at < b.at ? -1 : 1))
  const isHeld = new Uint8Array(manifest.rows)
  let held = 0
  for (const { prompt } of drawn) {
    const rows = rowsOf.get(prompt)!
    if (held >= wanted) break
    if (held > 0 && held + rows.length > wanted) continue // a prompt of many rows may not fit
    for (const row of rows) isHeld[row] = 1
    held += rows.length
  }
  if (held === 0 || held >= manifest.rows) {
    throw new InputError(
      `data.eval_split: ${split} of ${manifest.rows} rows (${rowsOf.size} prompts) leaves ${held === 0 ? "none to hold out" : "none to train"}; rows of one prompt stay on one side`,
    )
  }
  return isHeld
}

/** A number of the seed and the prompt alone: other rows change no choice by much. */
const drawOf = (seed: number, prompt: bigint): string =>
  createHash("sha256").update(`held out ${seed} ${prompt}`).digest("hex")

interface Part {
  readonly name: "train" | "held"
  readonly keeps: (row: number) => boolean
  readonly options: HeldOutOptions
}

async function partOf(whole: PreparedData, part: Part): Promise<PreparedData> {
  const { name, options } = part
  const key = createHash("sha256")
    .update(JSON.stringify([whole.manifest.key, name, options.split, options.seed]))
    .digest("hex")
  const dir = join(dirname(whole.dir), key)
  const found = await preparedState(dir)
  if (found.state === "whole") {
    const { manifest } = found
    return { dir, manifest, lints: manifest.lints, fromCache: true }
  }
  removeLeft(dir)
  const temporary = temporaryName(dir)
  await mkdir(temporary)
  try {
    const manifest = await writePart(temporary, key, whole, part)
    await publish(temporary, dir)
    return { dir, manifest, lints: manifest.lints, fromCache: false }
  } finally {
    await rm(temporary, { recursive: true, force: true })
  }
}

async function writePart(
  dir: string,
  key: string,
  { dir: from, manifest: whole }: PreparedData,
  { name, keeps, options }: Part,
): Promise<Manifest> {
  const shards: Manifest["shards"][number][] = []
  const bySource = new Int32Array(whole.sources.length)
  let [first, tokens, supervised] = [0, 0, 0]
  for (const shard of whole.shards) {
    const kept = Array.from({ length: shard.rows }, (_, r) => r).filter((r) => keeps(first + r))
    first += shard.rows
    if (kept.length === 0) continue
    const reader = await openSafetensors(join(from, shard.file))
    try {
      const file = `shard-${String(shards.length).padStart(5, "0")}.safetensors`
      const part = await keptTensors(reader, sidesOf(whole.purpose), kept)
      await writeSafetensors(join(dir, file), part.tensors)
      for (const source of part.sources) bySource[source]!++
      tokens += part.tokens
      supervised += part.supervised
      const sha256 = await fileHash(join(dir, file))
      shards.push({ file, rows: kept.length, tokens: part.tokens, sha256 })
    } finally {
      await reader.close()
    }
  }
  await writeHashes(dir, from, keeps)
  const { rows_sha256: _, ...rest } = whole
  const manifest: Manifest = {
    ...rest,
    key,
    rows: bySource.reduce((sum, rows) => sum + rows, 0),
    tokens,
    supervised_tokens: supervised,
    sources: whole.sources.map((source, i) => ({ ...source, rows: bySource[i]! })),
    shards,
    hashes_sha256: await fileHash(join(dir, HASHES_FILE)),
    options: { ...whole.options, eval_split: [name, options.split, options.seed] },
    lints: name === "train" ? whole.lints : [],
  }
  if (rowsPerEpoch(manifest) === 0 && name === "train") {
    throw new InputError("data.eval_split: no row is left to train with these weights")
  }
  const rows = await hashOfRows(dir, manifest)
  const { pictures_sha256: pictures } = whole
  // those of both sides: a row finds its own by its place
  if (pictures !== undefined) await copyFile(join(from, PICTURES_FILE), join(dir, PICTURES_FILE))
  const rows_sha256 = pictures === undefined ? rows : await hashWithPictures(rows, dir)
  const told = { ...manifest, rows_sha256 }
  await writeFileAtomic(join(dir, "manifest.json"), `${JSON.stringify(told, null, 2)}\n`)
  return told
}

/** Tensors with one number a token; the others have one a row. */
const PER_TOKEN = ["token_ids", "loss_mask", "token_class"]

async function keptTensors(
  reader: TensorReader,
  prefixes: readonly string[],
  kept: readonly number[],
): Promise<{
  readonly tensors: readonly TensorToWrite[]
  readonly sources: Int32Array
  readonly tokens: number
  readonly supervised: number
}> {
  const tensors: TensorToWrite[] = []
  let [tokens, supervised] = [0, 0]
  let sources = new Int32Array(0)
  for (const prefix of prefixes) {
    const raw = await reader.read(`${prefix}row_offsets`)
    const offsets = new BigInt64Array(raw.buffer, raw.byteOffset, raw.byteLength / 8)
    const ranges = kept.map((r) => [Number(offsets[r]!), Number(offsets[r + 1]!)] as const)
    for (const [name, { dtype, shape }] of reader.tensors) {
      const own = name.slice(prefix.length)
      if (!name.startsWith(prefix) || own === "row_offsets" || own.includes(".")) continue
      const data = await reader.read(name)
      const width = data.length / Math.max(1, shape[0]!)
      const places = PER_TOKEN.includes(own) ? ranges : kept.map((r) => [r, r + 1] as const)
      const parts = places.map(([start, end]) => data.subarray(start * width, end * width))
      const bytes = Buffer.concat(parts)
      tensors.push({ name, dtype, shape: [bytes.length / width], data: bytes })
      if (own === "loss_mask") supervised += bytes.reduce((sum, mask) => sum + mask, 0)
      if (own === "row_source") sources = new Int32Array(Uint8Array.from(bytes).buffer)
    }
    const ends = new BigInt64Array(kept.length + 1)
    for (const [i, [start, end]] of ranges.entries()) ends[i + 1] = ends[i]! + BigInt(end - start)
    const data = new Uint8Array(ends.buffer)
    tensors.push({ name: `${prefix}row_offsets`, dtype: "I64", shape: [ends.length], data })
    tokens += Number(ends.at(-1)!)
  }
  return { tensors, sources, tokens, supervised }
}

async function writeHashes(
  dir: string,
  from: string,
  keeps: (row: number) => boolean,
): Promise<void> {
  const reader = await openSafetensors(join(from, HASHES_FILE))
  try {
    const tensors: TensorToWrite[] = []
    for (const name of reader.tensors.keys()) {
      const hashes = new BigInt64Array((await reader.read(name)).buffer).filter((_, row) =>
        keeps(row),
      )
      const data = new Uint8Array(hashes.buffer)
      tensors.push({ name, dtype: "I64", shape: [hashes.length], data })
    }
    await writeSafetensors(join(dir, HASHES_FILE), tensors)
  } finally {
    await reader.close()
  }
}
