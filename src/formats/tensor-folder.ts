import { readdir, rm } from "node:fs/promises"
import { join } from "node:path"
import { writeFileAtomic } from "./atomic.ts"
import { diskFolder } from "./disk-folder.ts"
import type { TensorReader, TensorToWrite } from "./safetensors.ts"
import { writeSafetensors } from "./safetensors-files.ts"
import { DTYPE_BYTES, elementCount } from "./safetensors-header.ts"
import { openCheckpointIn } from "./tensor-folder-reader.ts"

/**
 * Bytes of tensor data in one file before a checkpoint is cut into shards (as Transformers does).
 */
const MAX_SHARD_BYTES = 5e9

/** {@link openCheckpointIn} of a folder on the disk. */
export function openCheckpoint(
  folder: string,
  options?: { readonly prefix?: string },
): Promise<TensorReader> {
  return openCheckpointIn(diskFolder(folder), options)
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
