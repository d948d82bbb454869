import { InputError } from "../errors.ts"
import { type Folder, objectIn } from "./folder.ts"
import { describeValue, isObject, type JsonObject } from "./json.ts"
import { readSafetensors, type TensorEntry, type TensorReader } from "./safetensors.ts"

/** The shard files that an index names: plain names in the index's own folder, nothing else. */
function weightMap(index: JsonObject, indexPath: string): Map<string, string> {
  const map = index.weight_map
  if (!isObject(map)) {
    throw new InputError(
      `${indexPath}: expected "weight_map" to be an object, got ${describeValue(map)}`,
    )
  }
  const files = new Map<string, string>()
  for (const [name, written] of Object.entries(map)) {
    const file = typeof written === "string" ? written.replace(/^\.\//, "") : written
    if (
      typeof file !== "string" ||
      !/^[^/\\:\0]+\.safetensors$/.test(file) ||
      file.startsWith("..")
    ) {
      throw new InputError(
        `${indexPath}: tensor "${name}": expected the name of a .safetensors file in the same folder, got ${describeValue(written)}`,
      )
    }
    files.set(name, file)
  }
  return files
}

async function openShards(
  folder: Folder,
  index: JsonObject,
  indexPath: string,
): Promise<TensorReader> {
  const map = weightMap(index, indexPath)
  const readers = new Map<string, TensorReader>()
  const close = async (): Promise<void> => {
    for (const reader of readers.values()) await reader.close()
  }
  const tensors = new Map<string, TensorEntry>()
  const holder = new Map<string, TensorReader>()
  let metadata: Readonly<Record<string, string>> = {}
  try {
    for (const file of new Set(map.values())) {
      const source = await folder.open(file)
      if (!source) throw new InputError(`${folder.pathOf(file)}: no such file`)
      const reader = await readSafetensors(source)
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
    if (reader === undefined) throw new InputError(`${folder.path}: no tensor "${name}"`)
    return reader
  }
  return {
    tensors,
    metadata,
    read: async (name) => readerOf(name).read(name),
    readFloat32: async (name, into) => readerOf(name).readFloat32(name, into),
    readRows: async (name, row, into) => readerOf(name).readRows(name, row, into),
    close,
  }
}

/**
 * Opens the weights of a Hugging Face folder: `<prefix>.safetensors`, or the shards that
 * `<prefix>.safetensors.index.json` names.
 *
 * @throws InputError when there are none, or for anything damaged.
 */
export async function openCheckpointIn(
  folder: Folder,
  { prefix = "model" }: { readonly prefix?: string } = {},
): Promise<TensorReader> {
  const single = `${prefix}.safetensors`
  const source = await folder.open(single)
  if (source) return readSafetensors(source)
  const indexName = `${single}.index.json`
  const index = await objectIn(folder, indexName)
  if (index) return openShards(folder, index, folder.pathOf(indexName))
  const pickled = (await folder.names()).find((file) => /\.(bin|pt|pth)$/.test(file))
  const hint =
    pickled === undefined
      ? ""
      : `; ${pickled} is a pickle, which can run code and is not read: convert it to safetensors`
  throw new InputError(`${folder.path}: expected ${single} or ${indexName}, found neither${hint}`)
}
