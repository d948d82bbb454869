import { join } from "node:path"
import {
  float32ToBf16,
  type TensorToWrite,
  writeCheckpoint,
  writeFileAtomic,
} from "../formats/index.ts"
import { copySideFiles, openWeights, storedTensors } from "../models/files/index.ts"
import {
  type CheckpointDtype,
  type DecoderShape,
  linearWeights,
  type TensorSource,
} from "../models/index.ts"
import { progressMeter } from "../report/progress.ts"
import { counted } from "./counted.ts"
import { verifyText, withTensors } from "./hugging-face.ts"
import type { ExportSource, Work, Written } from "./source.ts"
import { largestDifference } from "./verify.ts"

type Bits = 4 | 8

/**
 * Inputs that share a scale, the largest that divides all rows; without one a row has one scale.
 */
const GROUP_SIZES = [128, 64, 32]

interface Grid {
  readonly bits: Bits
  readonly groupSize: number | undefined
}

/** A weight's codes and scales. */
interface Rounded {
  readonly codes: Int8Array
  readonly scales: Uint16Array
}

const asFloat = (bits: number): number => {
  const word = new Uint32Array([bits << 16])
  return new Float32Array(word.buffer)[0]!
}

/**
 * Round to nearest, symmetric: scale = max |w| / (2^bits - 1) * 2 of a group, as bfloat16, and
 * code = round(w / scale) from -2^(bits-1) to 2^(bits-1) - 1 (compressed-tensors'
 * calculate_qparams).
 */
function rounded(weight: Float32Array, columns: number, { bits, groupSize }: Grid): Rounded {
  const size = groupSize ?? columns
  const [low, high] = [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1]
  const codes = new Int8Array(weight.length)
  const scales = new Uint16Array(weight.length / size)
  const single = new Float32Array(1)
  for (let g = 0; g < scales.length; g++) {
    const group = weight.subarray(g * size, (g + 1) * size)
    let largest = 0
    for (const w of group) largest = Math.max(largest, Math.abs(w))
    // A group of zeros takes any scale.
    single[0] = largest === 0 ? 1 : (2 * largest) / (2 ** bits - 1)
    float32ToBf16(single, scales.subarray(g, g + 1))
    const scale = asFloat(scales[g]!)
    for (let i = 0; i < size; i++) {
      codes[g * size + i] = Math.min(high, Math.max(low, Math.round(group[i]! / scale)))
    }
  }
  return { codes, scales }
}

/** Codes from 0 on, 32 / bits in a word, the first in its lowest bits; a row begins with a word. */
function packed(codes: Int8Array, columns: number, bits: Bits): Uint8Array {
  const perWord = 32 / bits
  const width = Math.ceil(columns / perWord)
  const rows = codes.length / columns
  const words = new Uint32Array(rows * width)
  for (let row = 0; row < rows; row++) {
    for (let i = 0; i < columns; i++) {
      const code = codes[row * columns + i]! + 2 ** (bits - 1)
      words[row * width + Math.floor(i / perWord)]! |= code << (bits * (i % perWord))
    }
  }
  return new Uint8Array(words.buffer)
}

function quantizationConfig({ bits, groupSize }: Grid): object {
  const weights = {
    num_bits: bits,
    type: "int",
    symmetric: true,
    strategy: groupSize === undefined ? "channel" : "group",
    group_size: groupSize ?? null,
    dynamic: false,
    observer: "minmax",
  }
  const group = { targets: ["Linear"], weights, input_activations: null, output_activations: null }
  return {
    quant_method: "compressed-tensors",
    format: "pack-quantized",
    quantization_status: "compressed",
    config_groups: { group_0: group },
    ignore: ["lm_head"],
    kv_cache_scheme: null,
    global_compression_ratio: null,
  }
}

/** The three tensors of one weight. Codes and scales are made together, and only once. */
function tensorsOf({ name, shape, read }: TensorSource, grid: Grid): TensorToWrite[] {
  const [rows, columns] = shape as [number, number]
  const module = name.replace(/\.weight$/, "")
  let made: Promise<Rounded> | undefined
  const both = () => {
    made ??= read().then((weight) => rounded(weight, columns, grid))
    return made
  }
  const bytes = (data: ArrayBufferView) =>
    new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
  return [
    {
      name: `${module}.weight_packed`,
      dtype: "I32",
      shape: [rows, Math.ceil((columns * grid.bits) / 32)],
      data: async () => packed((await both()).codes, columns, grid.bits),
    },
    {
      name: `${module}.weight_scale`,
      dtype: "BF16",
      shape: [rows, columns / (grid.groupSize ?? columns)],
      data: async () => {
        const { scales } = await both()
        made = undefined
        return bytes(scales)
      },
    },
    {
      name: `${module}.weight_shape`,
      dtype: "I64",
      shape: [2],
      data: () => bytes(BigInt64Array.of(BigInt(rows), BigInt(columns))),
    },
  ]
}

function gridOf(bits: Bits, shape: DecoderShape, tensors: readonly TensorSource[]): Grid {
  const linear = linearWeights(shape)
  const widths = tensors.filter(({ name }) => linear.has(name)).map(({ shape }) => shape[1]!)
  const divides = (size: number) => widths.every((width) => width % size === 0)
  return { bits, groupSize: GROUP_SIZES.find(divides) }
}

/** A code at most half a scale from its value, and what a bfloat16 scale adds at the ends. */
const bound = (largest: number, bits: Bits): number => largest * (1.02 / (2 ** bits - 1) + 2 ** -8)

/**
 * The linear layers of all blocks in 4 or 8 bits, as compressed-tensors packs them: vLLM and
 * Transformers open it. Embedding, head and norms stay as they were.
 */
export function writeCompressed(bits: Bits) {
  return async (source: ExportSource, stage: string, { signal, show }: Work): Promise<Written> =>
    withTensors(source, signal, async ({ model, tensors }) => {
      const { shape, json } = model.config
      const grid = gridOf(bits, shape, tensors)
      const linear = linearWeights(shape)
      const rest: CheckpointDtype = model.dtype === "float16" ? "float16" : "bfloat16"
      const plain = tensors.filter(({ name }) => !linear.has(name))
      const quantized = tensors.filter(({ name }) => linear.has(name))
      await writeCheckpoint(
        stage,
        counted(
          [
            ...storedTensors(plain, rest),
            ...quantized.flatMap((tensor) => tensorsOf(tensor, grid)),
          ],
          `writing in ${bits} bits`,
          show,
        ),
      )
      const config = {
        ...json,
        torch_dtype: rest,
        dtype: rest,
        quantization_config: quantizationConfig(grid),
      }
      await writeFileAtomic(join(stage, "config.json"), `${JSON.stringify(config, null, 2)}\n`)
      if (source.base !== null) await copySideFiles(source.base, stage)
      await copySideFiles(source.textFolder, stage)
      const read = await openWeights(stage)
      try {
        const meter = progressMeter("reading back", { unit: "tensors" })
        let values = 0
        let largestError = 0
        for (const [i, { name, read: meant }] of tensors.entries()) {
          const pair = { name, meant: await meant(), written: await read.read(name) }
          const most = linear.has(name) ? (x: number) => bound(x, bits) : (x: number) => x * 2 ** -8
          largestError = Math.max(largestError, largestDifference(pair, most, source.folder))
          values += pair.meant.length
          show(meter(i + 1, tensors.length))
        }
        return {
          stored: bits === 4 ? "int4" : "int8",
          verified: { tensors: tensors.length, values, largestError },
          notes: await verifyText(stage),
        }
      } finally {
        await read.close()
      }
    })
}
