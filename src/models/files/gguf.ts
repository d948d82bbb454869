import { assert, InputError } from "../../errors.ts"
import {
  GGUF_BLOCKS,
  type GgufScalar,
  type GgufTensor,
  type WrittenGgufType,
} from "../../formats/index.ts"
import { layerTensor } from "../block/parameters.ts"
import type { GgufFamily } from "../families/gguf-family.ts"
import type { ModelConfig } from "../families/model-config.ts"
import { inverseFrequencies } from "../families/rope.ts"
import type { DecoderShape, Rope, TensorSource } from "../families/shape.ts"
import { FAMILIES, type ModelType } from "../families/table.ts"

/**
 * What a file is said to be made of, with its number in `general.file_type` (llama.h, llama_ftype).
 */
const FILE_TYPES: { readonly [Type in WrittenGgufType]: number } = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q8_0: 7,
  Q4_K: 14,
  Q5_K: 16,
  Q6_K: 18,
  BF16: 32,
}

const OUTER: Readonly<Record<string, string>> = {
  "model.embed_tokens": "token_embd",
  "model.norm": "output_norm",
  lm_head: "output",
}
/** @throws InputError for a family that llama.cpp has no architecture for */
export function ggufFamily(type: ModelType, where = "export"): GgufFamily {
  const { gguf }: { readonly gguf?: GgufFamily } = FAMILIES[type]
  if (gguf) return gguf
  throw new InputError(
    `${where}: dftune does not write "model_type": "${type}" as GGUF; --to hf keeps the model as it is`,
  )
}

/** `model.layers.3.mlp.up_proj.weight` is `blk.3.ffn_up.weight` to llama.cpp. */
export function ggufName(name: string, { names }: GgufFamily): string {
  const inner = layerTensor(name)
  const [, module, kind] = /^(.+)\.(weight|bias)$/.exec(inner?.name ?? name) ?? []
  const renamed = (inner ? names : OUTER)[module ?? ""]
  assert(renamed !== undefined, `ggufName: no name for ${name}`)
  return `${inner ? `blk.${inner.layer}.` : ""}${renamed}.${kind}`
}

/**
 * The rows of q or k (or the elements of their bias) with each head's halves interleaved: row
 * 2j + s of a head was row s D/2 + j. [H * D, C] or [H * D], row major.
 */
export const interleavedHeads = (values: Float32Array, rows: number, headDim: number) =>
  movedRows(values, rows, (row) => [halvedRow(row, headDim), row])

/** What {@link interleavedHeads} did, undone. */
export const halvedHeads = (values: Float32Array, rows: number, headDim: number) =>
  movedRows(values, rows, (row) => [row, halvedRow(row, headDim)])

/** Where the row that is interleaved at `row` stands among halves. */
function halvedRow(row: number, headDim: number): number {
  const within = row % headDim
  return row - within + (within % 2) * (headDim / 2) + Math.floor(within / 2)
}

function movedRows(
  values: Float32Array,
  rows: number,
  move: (row: number) => readonly [from: number, to: number],
): Float32Array {
  const columns = values.length / rows
  const out = new Float32Array(values.length)
  for (let row = 0; row < rows; row++) {
    const [from, to] = move(row)
    out.set(values.subarray(from * columns, (from + 1) * columns), to * columns)
  }
  return out
}

/** Whether llama.cpp stores 1 + w of this tensor. */
export const isShiftedNorm = (name: string, { addsOneToNorms }: GgufFamily): boolean =>
  addsOneToNorms === true && /norm\.weight$/.test(name)

/**
 * How a tensor is stored: vectors as F32, which llama.cpp asks for; matrices as `type`, or F16
 * where their rows are no whole blocks (Q8_0 where the 256 of a K-quant do not divide them, and 32
 * do). Beside layers of 4 and 5 bits the embedding and the head keep 8 bits.
 */
function storedType(
  name: string,
  shape: readonly number[],
  type: WrittenGgufType,
): WrittenGgufType {
  if (shape.length < 2) return "F32"
  const isCoarse = type === "Q4_0" || type === "Q4_K" || type === "Q5_K"
  const wanted = isCoarse && !layerTensor(name) ? "Q8_0" : type
  const fits = (type: WrittenGgufType) => shape.at(-1)! % GGUF_BLOCKS[type].values === 0
  return fits(wanted) ? wanted : fits("Q8_0") && wanted !== "Q4_0" ? "Q8_0" : "F16"
}

/** llama3 scaling as llama.cpp takes it: by how much each frequency is divided. [D / 2] */
export function ropeFactors(rope: Rope): Float32Array {
  const { ropeTheta, rotaryDim } = rope
  const unscaled = inverseFrequencies({ ropeType: "default", ropeTheta, rotaryDim }, 0)
  const scaled = inverseFrequencies(rope, 0)
  return Float32Array.from(unscaled, (frequency, i) => frequency / scaled[i]!)
}

/** The tensors of a GGUF file, in the checkpoint's order. A tied head is left to the embedding. */
export function ggufTensors(
  { modelType, shape }: ModelConfig,
  tensors: readonly TensorSource[],
  type: WrittenGgufType,
): GgufTensor[] {
  const family = ggufFamily(modelType)
  const { rope } = shape.layers[0]!
  const converted = tensors.map(({ name, shape: dims, read }): GgufTensor => {
    const turned = family.turnsNeighbours && /\.self_attn\.[qk]_proj\.(weight|bias)$/.test(name)
    return {
      name: ggufName(name, family),
      type: storedType(name, dims, type),
      shape: dims,
      values: async () => {
        const values = await read()
        if (turned) return interleavedHeads(values, dims[0]!, shape.headDim)
        return isShiftedNorm(name, family) ? values.map((x) => x + 1) : values
      },
    }
  })
  if (rope?.ropeType !== "llama3") return converted
  const factors = ropeFactors(rope)
  const frequencies: GgufTensor = {
    name: "rope_freqs.weight",
    type: "F32",
    shape: [factors.length],
    values: async () => factors,
  }
  return [...converted, frequencies]
}

export interface GgufModel {
  readonly metadata: Map<string, GgufScalar>
  /** What llama.cpp does differently, in words. */
  readonly notes: readonly string[]
}

/**
 * The metadata of a decoder for llama.cpp.
 *
 * @param where the model, for errors
 * @param name `general.name`
 * @throws InputError for what llama.cpp's architecture of this family cannot compute
 */
export function ggufModel(
  { modelType, shape }: ModelConfig,
  {
    where,
    name,
    type,
  }: { readonly where: string; readonly name: string; readonly type: WrittenGgufType },
): GgufModel {
  const family = ggufFamily(modelType, where)
  const { architecture } = family
  const lacking = family.lacks(shape)
  if (lacking !== undefined) {
    throw new InputError(
      `${where}: llama.cpp's ${architecture} does not know ${lacking}; --to hf keeps the model as it is`,
    )
  }
  const metadata = new Map<string, GgufScalar>()
  const uint32 = (key: string, value: number) => metadata.set(key, { kind: "uint32", value })
  const float32 = (key: string, value: number) => metadata.set(key, { kind: "float32", value })
  const string = (key: string, value: string) => metadata.set(key, { kind: "string", value })
  string("general.architecture", architecture)
  string("general.type", "model")
  string("general.name", name)
  uint32("general.file_type", FILE_TYPES[type])
  uint32("general.quantization_version", 2)
  uint32(`${architecture}.context_length`, shape.maxPositionEmbeddings)
  uint32(`${architecture}.embedding_length`, shape.hiddenSize)
  uint32(`${architecture}.block_count`, shape.numHiddenLayers)
  uint32(`${architecture}.feed_forward_length`, shape.intermediateSize)
  uint32(`${architecture}.attention.head_count`, shape.numAttentionHeads)
  uint32(`${architecture}.attention.head_count_kv`, shape.numKeyValueHeads)
  uint32(`${architecture}.attention.key_length`, shape.headDim)
  uint32(`${architecture}.attention.value_length`, shape.headDim)
  float32(`${architecture}.attention.layer_norm_rms_epsilon`, shape.rmsNormEps)
  uint32(`${architecture}.vocab_size`, shape.vocabSize)
  for (const [key, value] of Object.entries(family.factors?.(shape) ?? {})) {
    float32(`${architecture}.${key}`, value)
  }
  for (const [key, value] of Object.entries(family.counts?.(shape) ?? {})) {
    uint32(`${architecture}.${key}`, value)
  }
  return { metadata, notes: ropeMetadata(metadata, shape, architecture) }
}

/** Returns what llama.cpp does otherwise, in words. */
function ropeMetadata(
  metadata: Map<string, GgufScalar>,
  { layers }: DecoderShape,
  architecture: string,
): string[] {
  // Gemma's layers with a window turn by a base that llama.cpp knows by itself.
  const rope = (layers.find(({ rope, window }) => rope && !window) ?? layers[0])?.rope
  if (!rope) return []
  const float32 = (key: string, value: number) => metadata.set(key, { kind: "float32", value })
  metadata.set(`${architecture}.rope.dimension_count`, { kind: "uint32", value: rope.rotaryDim })
  float32(`${architecture}.rope.freq_base`, rope.ropeTheta)
  if (rope.ropeType === "linear") {
    metadata.set(`${architecture}.rope.scaling.type`, { kind: "string", value: "linear" })
    float32(`${architecture}.rope.scaling.factor`, rope.factor)
  }
  if (rope.ropeType === "yarn") {
    metadata.set(`${architecture}.rope.scaling.type`, { kind: "string", value: "yarn" })
    float32(`${architecture}.rope.scaling.factor`, rope.factor)
    const value = rope.originalMaxPositionEmbeddings
    metadata.set(`${architecture}.rope.scaling.original_context_length`, { kind: "uint32", value })
  }
  if (rope.ropeType !== "dynamic") return []
  const most = rope.maxPositionEmbeddings
  return [
    `llama.cpp has no dynamic rotary scaling: the same up to ${most} tokens, different beyond`,
  ]
}
