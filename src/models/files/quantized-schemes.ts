import { InputError } from "../../errors.ts"
import { E4M3 } from "../../formats/float8.ts"
import { describeValue, isObject, type JsonObject, parseJson } from "../../formats/json.ts"
import type { TensorReader } from "../../formats/safetensors.ts"
import { PackedCodes } from "./packed-codes.ts"

/** A linear weight [out, in] of a quantised checkpoint, and where its parts lie. */
export interface QuantizedWeight {
  readonly reader: TensorReader
  /** The tensors of its parts are named below it. */
  readonly module: string
  readonly outFeatures: number
  readonly inFeatures: number
  /** The file, for errors. */
  readonly where: string
}

/** How one method of quantisation stores a linear weight. */
export interface QuantizedScheme {
  /** For people: "4-bit GPTQ". */
  readonly name: string
  /** The part that says that a module is stored so. */
  readonly mark: string
  /** All parts, by what follows the module's name. */
  readonly parts: readonly string[]
  /** The weight as float32, [out, in]. */
  dequantized(weight: QuantizedWeight): Promise<Float32Array>
}

type Shape = readonly (number | readonly number[])[]

/**
 * @throws InputError where a part is missing, or not of the type and shape that the weight asks for
 */
function part(weight: QuantizedWeight, name: string, dtypes: readonly string[], shape?: Shape) {
  const { reader, module, where } = weight
  const full = `${module}.${name}`
  const found = reader.tensors.get(full)
  if (found === undefined) throw new InputError(`${where}: tensor "${full}" is missing`)
  const fits =
    shape === undefined ||
    (found.shape.length === shape.length &&
      found.shape.every((size, i) => [shape[i]].flat().includes(size)))
  if (dtypes.includes(found.dtype) && fits) return { ...found, name: full }
  throw new InputError(
    `${where}: tensor "${full}": expected ${dtypes.join(" or ")} [${shape?.join(", ") ?? ""}], got ${found.dtype} [${found.shape.join(", ")}]`,
  )
}

const FLOATS = ["F32", "F16", "BF16"]
const has = ({ reader, module }: QuantizedWeight, name: string): boolean =>
  reader.tensors.has(`${module}.${name}`)

const refuse = (where: string, problem: string): never => {
  throw new InputError(
    `${where}: quantization_config: ${problem}; take the checkpoint as it was before it was quantised`,
  )
}

/** @throws InputError for another than the values allowed */
function oneOf<T>(
  config: JsonObject,
  key: string,
  allowed: readonly T[],
  where: string,
  missing?: T,
): T {
  const came = config[key] ?? missing
  if (allowed.includes(came as T)) return came as T
  return refuse(
    where,
    `expected "${key}" to be ${allowed.join(" or ")}, got ${describeValue(came)}`,
  )
}

function groupOf(config: JsonObject, where: string, inFeatures: number): number {
  const size = config.group_size ?? -1
  if (size === -1) return inFeatures
  const isSize = typeof size === "number" && Number.isInteger(size) && size > 0
  return isSize ? size : refuse(where, `expected "group_size" above 0, got ${describeValue(size)}`)
}

/**
 * w[o, i] = scale[g, o] (code[i, o] - zero[g, o]), g = g_idx[i]; zeros are stored less one before
 * version 2.
 */
function gptq(config: JsonObject, where: string): QuantizedScheme {
  const bits = oneOf(config, "bits", [2, 4, 8], where)
  const format = oneOf(config, "checkpoint_format", ["gptq", "gptq_v2"], where, "gptq")
  const added = format === "gptq" ? 1 : 0
  const perWord = 32 / bits
  return {
    name: `${bits}-bit GPTQ`,
    mark: "qweight",
    parts: ["qweight", "qzeros", "scales", "g_idx"],
    async dequantized(weight) {
      const { reader, outFeatures: O, inFeatures: I } = weight
      const groupSize = groupOf(config, where, I)
      const G = Math.ceil(I / groupSize)
      const codes = part(weight, "qweight", ["I32"], [Math.ceil(I / perWord), O])
      const zeros = part(weight, "qzeros", ["I32"], [G, Math.ceil(O / perWord)])
      const scale = await reader.readFloat32(part(weight, "scales", FLOATS, [G, O]).name)
      const index = has(weight, "g_idx")
        ? new Int32Array(
            (await reader.read(part(weight, "g_idx", ["I32"], [I]).name)).slice().buffer,
          )
        : Int32Array.from({ length: I }, (_, i) => Math.floor(i / groupSize))
      const words = new Uint32Array((await reader.read(codes.name)).slice().buffer)
      const zero = new PackedCodes(await reader.read(zeros.name), zeros.shape[1]!, bits)
      const values = new Float32Array(O * I)
      for (let i = 0; i < I; i++) {
        const g = index[i]!
        if (!(g >= 0 && g < G)) {
          throw new InputError(
            `${weight.where}: tensor "${weight.module}.g_idx": expected groups below ${G}, got ${g}`,
          )
        }
        const [row, shift] = [Math.floor(i / perWord) * O, bits * (i % perWord)]
        for (let o = 0; o < O; o++) {
          const code = (words[row + o]! >>> shift) & (2 ** bits - 1)
          values[o * I + i] = scale[g * O + o]! * (code - (zero.at(g, o) + added))
        }
      }
      return values
    },
  }
}

/** Where AutoAWQ puts each of eight columns in a word. */
const AWQ_ORDER = [0, 4, 1, 5, 2, 6, 3, 7]

/** w[o, i] = scale[g, o] (code[i, o] - zero[g, o]). */
function awq(config: JsonObject, where: string): QuantizedScheme {
  const bits = oneOf(config, "bits", [4], where)
  oneOf(config, "version", ["gemm", "GEMM"], where, "gemm")
  return {
    name: `${bits}-bit AWQ`,
    mark: "qweight",
    parts: ["qweight", "qzeros", "scales"],
    async dequantized(weight) {
      const { reader, outFeatures: O, inFeatures: I } = weight
      const groupSize = groupOf(config, where, I)
      const G = Math.ceil(I / groupSize)
      const width = O / 8
      const codes = await reader.read(part(weight, "qweight", ["I32"], [I, width]).name)
      const zeros = await reader.read(part(weight, "qzeros", ["I32"], [G, width]).name)
      const scale = await reader.readFloat32(part(weight, "scales", FLOATS, [G, O]).name)
      const code = new PackedCodes(codes, width, bits, AWQ_ORDER)
      const zero = new PackedCodes(zeros, width, bits, AWQ_ORDER)
      const values = new Float32Array(O * I)
      for (let i = 0; i < I; i++) {
        const g = Math.floor(i / groupSize)
        for (let o = 0; o < O; o++) {
          values[o * I + i] = (code.at(i, o) - zero.at(g, o)) * scale[g * O + o]!
        }
      }
      return values
    },
  }
}

const STATE = "weight.quant_state.bitsandbytes__nf4"

/**
 * w = absmax[block] map[code], the first of two codes in the upper half of a byte; absmax perhaps
 * in 8 bits itself.
 */
function nf4(config: JsonObject, where: string): QuantizedScheme {
  oneOf(config, "load_in_4bit", [true], where)
  oneOf(config, "bnb_4bit_quant_type", ["nf4"], where)
  return {
    name: "bitsandbytes NF4",
    mark: STATE,
    parts: ["weight", "absmax", "quant_map", "nested_absmax", "nested_quant_map"]
      .map((name) => (name === "weight" ? name : `weight.${name}`))
      .concat(STATE),
    async dequantized(weight) {
      const { reader, module, outFeatures: O, inFeatures: I } = weight
      const text = await reader.read(part(weight, STATE, ["U8"]).name)
      const path = `${weight.where}: tensor "${module}.${STATE}"`
      const state = parseJson(new TextDecoder().decode(text), path)
      const { blocksize: block, shape, nested_blocksize: nested } = isObject(state) ? state : {}
      const isRight =
        isObject(state) &&
        state.quant_type === "nf4" &&
        Array.isArray(shape) &&
        shape.join() === `${O},${I}` &&
        typeof block === "number" &&
        Number.isInteger(block) &&
        block > 0
      if (!isRight) throw new InputError(`${path}: expected nf4 of [${O}, ${I}] in blocks`)
      const blocks = Math.ceil((O * I) / block)
      const codes = await reader.read(
        part(weight, "weight", ["U8"], [Math.ceil((O * I) / 2), 1]).name,
      )
      const map = await reader.readFloat32(part(weight, "weight.quant_map", ["F32"], [16]).name)
      const absmax = part(weight, "weight.absmax", nested === undefined ? ["F32"] : ["U8"], [
        blocks,
      ])
      const scales =
        nested === undefined
          ? await reader.readFloat32(absmax.name)
          : await nestedScales(weight, state, await reader.read(absmax.name))
      const values = new Float32Array(O * I)
      for (let i = 0; i < values.length; i++) {
        const pair = codes[i >> 1]!
        values[i] = map[i % 2 === 0 ? pair >> 4 : pair & 15]! * scales[Math.floor(i / block)]!
      }
      return values
    },
  }
}

/** absmax = map[code] absmax2[block] + offset. */
async function nestedScales(
  weight: QuantizedWeight,
  { nested_blocksize: block, nested_offset: offset }: JsonObject,
  codes: Uint8Array,
): Promise<Float32Array> {
  const isRight =
    typeof block === "number" && Number.isInteger(block) && block > 0 && typeof offset === "number"
  if (!isRight) {
    throw new InputError(
      `${weight.where}: tensor "${weight.module}.${STATE}": expected nested_blocksize and nested_offset`,
    )
  }
  const { reader } = weight
  const blocks = Math.ceil(codes.length / block)
  const outer = await reader.readFloat32(
    part(weight, "weight.nested_absmax", ["F32"], [blocks]).name,
  )
  const map = await reader.readFloat32(part(weight, "weight.nested_quant_map", ["F32"], [256]).name)
  return Float32Array.from(
    codes,
    (code, i) => Math.fround(map[code]! * outer[Math.floor(i / block)]!) + offset,
  )
}

/** w = e4m3 scale_inv of its tile (fine-grained FP8, DeepSeek's and Qwen's). */
function fp8(config: JsonObject, where: string): QuantizedScheme {
  const tile = config.weight_block_size ?? [128, 128]
  const isTile =
    Array.isArray(tile) &&
    tile.length === 2 &&
    tile.every((n) => Number.isInteger(n) && (n as number) > 0)
  if (!isTile)
    refuse(where, `expected "weight_block_size" to be two sizes, got ${describeValue(tile)}`)
  const [high, wide] = tile as [number, number]
  return {
    name: "FP8",
    mark: "weight_scale_inv",
    parts: ["weight", "weight_scale_inv", "input_scale", "activation_scale"],
    async dequantized(weight) {
      const { reader, outFeatures: O, inFeatures: I } = weight
      const columns = Math.ceil(I / wide)
      const codes = await reader.read(part(weight, "weight", ["F8_E4M3"], [O, I]).name)
      const tiles = part(weight, "weight_scale_inv", FLOATS, [Math.ceil(O / high), columns])
      const scale = await reader.readFloat32(tiles.name)
      return Float32Array.from(codes, (code, i) => {
        const [o, n] = [Math.floor(i / I), i % I]
        return E4M3[code]! * scale[Math.floor(o / high) * columns + Math.floor(n / wide)]!
      })
    },
  }
}

/**
 * compressed-tensors: w = code scale[o, g], by group, by row or by tensor; codes packed, bytes or
 * FP8.
 */
function compressed(config: JsonObject, where: string): QuantizedScheme {
  const groups = isObject(config.config_groups) ? Object.values(config.config_groups) : []
  const [first] = groups
  const weights = isObject(first) && isObject(first.weights) ? first.weights : undefined
  if (groups.length !== 1 || weights === undefined) {
    return refuse(
      where,
      `expected one entry of "config_groups" with "weights", got ${groups.length}`,
    )
  }
  const formats = ["pack-quantized", "int-quantized", "float-quantized", "naive-quantized"] as const
  const format = oneOf(config, "format", formats, where)
  oneOf(weights, "symmetric", [true], where, true)
  oneOf(weights, "strategy", ["group", "channel", "tensor"], where)
  const bits = oneOf(weights, "num_bits", [4, 8], where)
  const isFloat = oneOf(weights, "type", ["int", "float"], where, "int") === "float"
  const isPacked = format === "pack-quantized"
  if (isPacked && isFloat) refuse(where, "packed FP8 is not read")
  const zero = 2 ** (bits - 1)
  return {
    name: `compressed-tensors ${format}, ${bits} bits`,
    mark: isPacked ? "weight_packed" : "weight_scale",
    parts: [
      "weight_packed",
      "weight_shape",
      "weight_scale",
      "input_scale",
      ...(isPacked ? [] : ["weight"]),
    ],
    async dequantized(weight) {
      const { reader, outFeatures: O, inFeatures: I } = weight
      const sized = reader.tensors.get(`${weight.module}.weight_scale`)?.shape ?? []
      const G = sized.length === 2 ? sized[1]! : 1
      const size = weights.strategy === "group" ? groupOf(weights, where, I) : I
      if (Math.ceil(I / size) !== G && G !== 1)
        refuse(where, `${G} groups of ${size} for ${I} columns`)
      const shape = sized.length === 2 ? [[O, 1], [G]] : [[O, 1]]
      const scale = await reader.readFloat32(part(weight, "weight_scale", FLOATS, shape).name)
      const scaleOf = (o: number, i: number) =>
        scale[scale.length === 1 ? 0 : o * G + (G === 1 ? 0 : Math.floor(i / size))]!
      const values = new Float32Array(O * I)
      const fill = (code: (o: number, i: number) => number) => {
        for (let o = 0; o < O; o++) {
          for (let i = 0; i < I; i++) values[o * I + i] = code(o, i) * scaleOf(o, i)
        }
        return values
      }
      if (isPacked) {
        const width = Math.ceil((I * bits) / 32)
        const bytes = await reader.read(part(weight, "weight_packed", ["I32"], [O, width]).name)
        const codes = new PackedCodes(bytes, width, bits)
        return fill((o, i) => codes.at(o, i) - zero)
      }
      const stored = part(weight, "weight", isFloat ? ["F8_E4M3"] : ["I8"], [O, I])
      const bytes = await reader.read(stored.name)
      return fill((o, i) => (isFloat ? E4M3[bytes[o * I + i]!]! : (bytes[o * I + i]! << 24) >> 24))
    },
  }
}

const SCHEMES: Readonly<Record<string, (config: JsonObject, where: string) => QuantizedScheme>> = {
  gptq,
  awq,
  bitsandbytes: nf4,
  fp8,
  "compressed-tensors": compressed,
}

/**
 * The scheme of a config.json's `quantization_config`.
 *
 * @throws InputError for a method, or a variant of one, that is not read
 */
export function quantizedScheme(config: JsonObject, where: string): QuantizedScheme {
  const method = config.quant_method ?? (config.load_in_4bit === true ? "bitsandbytes" : undefined)
  const known = typeof method === "string" && Object.hasOwn(SCHEMES, method)
  if (known) return SCHEMES[method]!(config, where)
  return refuse(
    where,
    `expected "quant_method" to be one of ${Object.keys(SCHEMES).join(", ")}, got ${describeValue(method)}`,
  )
}
