import { createHash } from "node:crypto"
import { existsSync, statSync } from "node:fs"
import { join, resolve } from "node:path"
import { assert, InputError } from "../../errors.ts"
import {
  type ByteSource,
  diskFolder,
  type GgufReader,
  openGguf,
  openGgufIn,
  writeFileAtomic,
} from "../../formats/index.ts"
import { statOf } from "../../host/stat.ts"
import { type ModelOptions, resolveModel, resolveModelFile } from "../../hub/hub.ts"
import { type HubFile, hubFile } from "../../hub/names.ts"
import { tokenizerOfGguf } from "../../text/gguf-tokenizer-read.ts"
import { decoderParameters, elementCount } from "../block/parameters.ts"
import { ggufConfig } from "../families/gguf-config.ts"
import { type CheckpointDtype, type ModelConfig, modelConfig } from "../families/model-config.ts"
import type { Rope } from "../families/shape.ts"
import { FAMILIES } from "../families/table.ts"
import { checkLayers, listed } from "./checkpoint-tensors.ts"
import { ggufName, halvedHeads, isShiftedNorm, ropeFactors } from "./gguf.ts"
import { madeFolder, pointerOf } from "./made-folder.ts"
import { type ModelHeaders, modelConfigIn, type OpenWeights } from "./open-weights.ts"

/** In the folder that stands for a GGUF file: which file that is. */
const KIND = { under: "gguf", pointer: "gguf.json" } as const
/** Of what is written beside it; raised when that would come out otherwise. */
const LAYOUT = 2

/** The GGUF file that a folder stands for; undefined: it is a folder of its own. */
export function ggufFileOf(folder: string): string | undefined {
  const says = pointerOf(folder, KIND)
  if (says === undefined) return undefined
  const path = says.file
  if (typeof path !== "string") {
    throw new InputError(`${join(folder, KIND.pointer)}: expected "file", a path`)
  }
  if (statOf(path)?.isFile()) return path
  throw new InputError(`${path}: no such file; the model was opened from there`)
}

const isGgufFile = (path: string): boolean =>
  /\.gguf$/i.test(path) && statOf(path)?.isFile() === true

/**
 * The folder of a model: a Hugging Face folder as it is, a hub id in its cache, and for a GGUF file
 * (here, or one of the hub: `owner/name/FILE.gguf`) one with its config and tokenizer, whose
 * weights stay in the file.
 *
 * @throws InputError
 */
export async function findModel(idOrPath: string, options?: ModelOptions): Promise<string> {
  if (isGgufFile(idOrPath)) return ggufFolder(resolve(idOrPath), options?.onNotice)
  const remote = ggufOnHub(idOrPath)
  if (!remote) return resolveModel(idOrPath, options)
  return ggufFolder(await resolveModelFile(remote, options), options?.onNotice)
}

/** `owner/name/FILE.gguf`, where no folder here is called `owner`. */
export function ggufOnHub(name: string): HubFile | undefined {
  return existsSync(name.split("/")[0]!) ? undefined : hubFile(name)
}

async function ggufFolder(file: string, onNotice: ModelOptions["onNotice"]): Promise<string> {
  const { size, mtimeMs } = statSync(file)
  const key = createHash("sha256").update(`${LAYOUT}\0${file}\0${size}\0${mtimeMs}`).digest("hex")
  const make = (folder: string) => writeGgufFolder(folder, file)
  return madeFolder({ ...KIND, key, make, onNotice })
}

async function writeGgufFolder(folder: string, file: string) {
  const reader = await openGguf(file)
  try {
    const texts = new Map([
      ...tokenizerOfGguf(reader.metadata, file),
      ["config.json", JSON.stringify(await configOf(reader, file), null, 2)],
    ])
    for (const [name, text] of texts) await writeFileAtomic(join(folder, name), text)
  } finally {
    await reader.close()
  }
  return { file }
}

/** float16 and bfloat16 where all matrices are; what was quantised has float32 values. */
function dtypeOf({ tensors }: GgufReader): CheckpointDtype {
  const matrices = [...tensors.values()].filter(({ shape }) => shape.length > 1)
  const kinds = new Set(matrices.map(({ type }) => type))
  if (kinds.size !== 1) return "float32"
  return kinds.has("BF16") ? "bfloat16" : kinds.has("F16") ? "float16" : "float32"
}

/** Where llama3 scaling may begin: its own is 8,192. */
const ORIGINAL_LENGTHS = Array.from({ length: 15 }, (_, i) => 2 ** (i + 5))

/**
 * llama3 scaling, of which the file holds only what comes of it: the lowest frequencies are divided
 * by the whole factor, and where the blend begins is found by trying.
 */
async function llama3Scaling(
  reader: GgufReader,
  rope: Pick<Rope, "ropeTheta" | "rotaryDim">,
  file: string,
): Promise<Record<string, unknown>> {
  if (!reader.tensors.has("rope_freqs.weight")) return {}
  const factors = await reader.readFloat32("rope_freqs.weight")
  const known = { ropeType: "llama3", ...rope, lowFreqFactor: 1, highFreqFactor: 4 } as const
  const factor = Math.round(Math.max(...factors))
  const found = ORIGINAL_LENGTHS.find((length) => {
    const meant = ropeFactors({ ...known, factor, originalMaxPositionEmbeddings: length })
    const isIt = (x: number, i: number) => Math.abs(factors[i]! / x - 1) < 1e-4
    return meant.length === factors.length && meant.every(isIt)
  })
  if (found === undefined) {
    throw new InputError(
      `${file}: tensor "rope_freqs.weight" is not the scaling of Llama 3.1 or 3.2, which alone is read; give the model's Hugging Face folder`,
    )
  }
  return {
    rope_scaling: {
      rope_type: "llama3",
      factor,
      low_freq_factor: known.lowFreqFactor,
      high_freq_factor: known.highFreqFactor,
      original_max_position_embeddings: found,
    },
  }
}

async function configOf(reader: GgufReader, file: string): Promise<Record<string, unknown>> {
  const { metadata, tensors } = reader
  const embedding = tensors.get("token_embd.weight")
  if (embedding === undefined) {
    throw new InputError(`${file}: expected a tensor "token_embd.weight"; this is no whole model`)
  }
  const facts = {
    vocabSize: embedding.shape[0] ?? 0,
    isTied: !tensors.has("output.weight"),
    hasAttentionBias: tensors.has("blk.0.attn_q.bias"),
    hasMlpBias: tensors.has("blk.0.ffn_up.bias"),
  }
  const config = ggufConfig(metadata, facts, file)
  const rope = { ropeTheta: Number(config.rope_theta), rotaryDim: Number(config.head_dim) }
  const id = (key: string) => {
    const value = metadata.get(`tokenizer.ggml.${key}_token_id`)?.value
    return typeof value === "number" ? { [`${key}_token_id`]: value } : {}
  }
  return {
    architectures: [FAMILIES[config.model_type].architecture],
    ...config,
    ...(await llama3Scaling(reader, rope, file)),
    ...id("bos"),
    ...id("eos"),
    dtype: dtypeOf(reader),
  }
}

/** Tensors that nothing is read from here. */
const IGNORED = /^(rope_freqs|rope_factors_(short|long))\.weight$/

/**
 * The tensors of a file by the checkpoint's names, checked against the config made of its metadata.
 */
function checkedNames({ tensors }: GgufReader, { modelType, shape }: ModelConfig, file: string) {
  const family = FAMILIES[modelType].gguf
  assert(family !== undefined, `no GGUF names for ${modelType}`)
  checkLayers(tensors.keys(), shape, {
    where: file,
    says: "its metadata says block_count",
    layerOf: /^blk\.(\d+)(?=\.)/,
  })
  const parameters = decoderParameters(shape)
  const names = new Map(parameters.map(({ name }) => [name, ggufName(name, family)] as const))
  const missing = parameters.filter(({ name, shape }) => {
    const found = tensors.get(names.get(name)!)
    return found === undefined || found.shape.join() !== shape.join()
  })
  if (missing.length > 0) {
    throw new InputError(
      `${file}: tensors that its metadata asks for are missing or of another shape: ${listed(missing.map(({ name, shape }) => `${names.get(name)} [${shape}]`))}`,
    )
  }
  const known = new Set(names.values())
  const extra = [...tensors.keys()].filter((x) => !known.has(x) && !IGNORED.test(x))
  if (extra.length > 0) throw new InputError(`${file}: unexpected tensors: ${listed(extra)}`)
  return { family, parameters, names }
}

/**
 * A GGUF file by its header alone, wherever its bytes are; `source` is closed.
 *
 * @throws InputError as {@link openGgufWeights}
 */
export async function ggufHeaders(source: ByteSource): Promise<ModelHeaders> {
  const { path, bytes } = source
  const reader = await openGgufIn(source)
  try {
    const config = modelConfig(await configOf(reader, path), path)
    checkedNames(reader, config, path)
    return { config, storedBytes: bytes, hasHeadBeside: false }
  } finally {
    await reader.close()
  }
}

/**
 * The weights of a folder that stands for a GGUF file, by the checkpoint's names, dequantised as
 * they are read: rows of q and k back in the checkpoint's order, norms without the 1 that llama.cpp
 * adds.
 *
 * @throws InputError naming the tensor that is missing, unexpected or of another shape
 */
export async function openGgufWeights(folder: string, file: string): Promise<OpenWeights> {
  const reader = await openGguf(file)
  try {
    const config = await modelConfigIn(diskFolder(folder))
    const { shape } = config
    const { family, parameters, names } = checkedNames(reader, config, file)
    const read = async (name: string, into?: Float32Array): Promise<Float32Array> => {
      const dims = reader.tensors.get(names.get(name)!)!.shape
      const values = await reader.readFloat32(names.get(name)!, into)
      assert(values.length === elementCount(dims), `${name}: ${values.length} values`)
      if (family.turnsNeighbours && /\.self_attn\.[qk]_proj\.(weight|bias)$/.test(name)) {
        values.set(halvedHeads(values, dims[0]!, shape.headDim))
      }
      if (isShiftedNorm(name, family)) {
        for (let i = 0; i < values.length; i++) values[i]! -= 1
      }
      return values
    }
    return {
      config,
      parameters,
      dtype: dtypeOf(reader),
      read,
      async readRows(name, row, into) {
        const own = names.get(name)!
        const columns = reader.tensors.get(own)!.shape.at(-1)!
        await reader.readRows(own, row * columns, into.length, into)
      },
      close: () => reader.close(),
    }
  } catch (error) {
    await reader.close()
    throw error
  }
}
