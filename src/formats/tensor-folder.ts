import { access, readdir, rm } from "node:fs/promises"
import { join } from "node:path"
import { InputError } from "../errors.ts"
import { writeFileAtomic } from "./atomic.ts"
import { describeValue, isObject, readJsonObject } from "./json.ts"
import {
  openSafetensors,
  type TensorEntry,
  type TensorReader,
  type TensorToWrite,
  writeSafetensors,
} from "./safetensors.ts"
import { DTYPE_BYTES, elementCount } from "./safetensors-header.ts"

/** Bytes of tensor data in one file before a checkpoint is cut into shards (as Transformers does). */
const MAX_SHARD_BYTES = 5e9

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

/** The shard files that an index names: plain names in the index's own folder, nothing else. */
async function weightMap(indexPath: string): Promise<Map<string, string>> {
  const index = await readJsonObject(indexPath)
  const map = index.weight_map
  if (!isObject(map)) {
    throw new InputError(
      `${indexPath}: expected "weight_map" to be an object, got ${describeValue(map)}`,
    )
  }
  for (const [name, file] of Object.entries(map)) {
    if (
      typeof file !== "string" ||
      !/^[^/\\:\0]+\.safetensors$/.test(file) ||
      file.startsWith("..")
    ) {
      throw new InputError(
        `${indexPath}: tensor "${name}": expected the name of a .safetensors file in the same folder, got ${describeValue(file)}`,
      )
    }
  }
  return new Map(Object.entries(map as Record<string, string>))
}

async function openShards(folder: string, indexPath: string): Promise<TensorReader> {
  const map = await weightMap(indexPath)
  const readers = new Map<string, TensorReader>()
  const close = async (): Promise<void> => {
    for (const reader of readers.values()) await reader.close()
  }
  const tensors = new Map<string, TensorEntry>()
  const holder = new Map<string, TensorReader>()
  let metadata: Readonly<Record<string, string>> = {}
  try {
    for (const file of new Set(map.values())) {
      const reader = await openSafetensors(join(folder, file))
      readers.set(file, reader)
      metadata = { ...metadata, ...reader.metadata }
      for (const [name, entry] of reader.tensors) {
        const named = map.get(name)
        if (named !== undefined && named !== file) continue
        if (holder.has(name)) {
          throw new InputError(`${indexPath}: tensor "${name}" is in more than one shard`)
        }
        tensors.set(name, entry)
        holder.set(name, reader)
      }
    }
    for (const [name, file] of map) {
      if (!tensors.has(name)) {
        throw new InputError(
          `${indexPath}: tensor "${name}" is not in ${file}, which the index names`,
        )
      }
    }
  } catch (error) {
    await close()
    throw error
  }
  const readerOf = (name: string): TensorReader => {
    const reader = holder.get(name)
    if (reader === undefined) throw new InputError(`${folder}: no tensor "${name}"`)
    return reader
  }
  return {
    tensors,
    metadata,
    read: async (name) => readerOf(name).read(name),
    readFloat32: async (name, into) => readerOf(name).readFloat32(name, into),
    readRow: async (name, row, into) => readerOf(name).readRow(name, row, into),
    close,
  }
}

/**
 * Opens the weights of a Hugging Face folder: `<prefix>.safetensors`, or the shards that
 * `<prefix>.safetensors.index.json` names.
 *
 * @throws InputError when there are none, or for anything damaged.
 */
export async function openCheckpoint(
  folder: string,
  { prefix = "model" } = {},
): Promise<TensorReader> {
  const single = join(folder, `${prefix}.safetensors`)
  if (await exists(single)) return openSafetensors(single)
  const index = `${single}.index.json`
  if (await exists(index)) return openShards(folder, index)
  const pickled = (await readdir(folder).catch(() => [])).find((file) =>
    /\.(bin|pt|pth)$/.test(file),
  )
  const hint =
    pickled === undefined
      ? ""
      : `; ${pickled} is a pickle, which can run code and is not read: convert it to safetensors`
  throw new InputError(
    `${folder}: expected ${prefix}.safetensors or ${prefix}.safetensors.index.json, found neither${hint}`,
  )
}

/** Cuts the tensors, in order, into groups of at most `maxBytes` (a larger tensor stands alone). */
function shardsOf(tensors: readonly TensorToWrite[], maxBytes: number): TensorToWrite[][] {
  const shards: TensorToWrite[][] = [[]]
  let room = maxBytes
  for (const tensor of tensors) {
    const bytes = byteLength(tensor)
    if (bytes > room && shards.at(-1)!.length > 0) {
      shards.push([])
      room = maxBytes
    }
    shards.at(-1)!.push(tensor)
    room -= bytes
  }
  return shards
}

const byteLength = ({ shape, dtype }: TensorToWrite): number =>
  elementCount(shape) * DTYPE_BYTES[dtype]

/**
 * Writes the weights of a model folder: one file, or shards and an index past `maxShardBytes`.
 * Weight files of an earlier checkpoint in the folder are removed once the new ones are in place.
 *
 * @returns the names of the files written.
 */
export async function writeCheckpoint(
  folder: string,
  tensors: Iterable<TensorToWrite>,
  {
    maxShardBytes = MAX_SHARD_BYTES,
    prefix = "model",
    metadata = { format: "pt" },
  }: {
    readonly maxShardBytes?: number
    readonly prefix?: string
    readonly metadata?: Readonly<Record<string, string>>
  } = {},
): Promise<string[]> {
  const all = [...tensors]
  const shards = shardsOf(all, maxShardBytes)
  const number = (k: number): string => String(k).padStart(5, "0")
  const files =
    shards.length === 1
      ? [`${prefix}.safetensors`]
      : shards.map((_, k) => `${prefix}-${number(k + 1)}-of-${number(shards.length)}.safetensors`)
  for (const [k, shard] of shards.entries()) {
    await writeSafetensors(join(folder, files[k]!), shard, metadata)
  }
  if (shards.length > 1) {
    const weights = shards.flatMap((shard, k) =>
      shard.map(({ name }) => [name, files[k]!] as const),
    )
    const index = {
      metadata: { total_size: all.reduce((sum, tensor) => sum + byteLength(tensor), 0) },
      weight_map: Object.fromEntries(weights.sort(([a], [b]) => (a < b ? -1 : 1))),
    }
    const name = `${prefix}.safetensors.index.json`
    await writeFileAtomic(join(folder, name), `${JSON.stringify(index, null, 2)}\n`)
    files.push(name)
  }
  const weightFile = /^(?<of>.+?)(-\d{5}-of-\d{5})?\.safetensors(\.index\.json)?$/
  for (const file of await readdir(folder)) {
    const stale = weightFile.exec(file)?.groups?.of === prefix && !files.includes(file)
    if (stale) await rm(join(folder, file))
  }
  return files
}
