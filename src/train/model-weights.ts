import { assert } from "../errors.ts"
import {
  dequantizeMatrix,
  type QuantizedMatrix,
  quantizeMatrix,
} from "../models/adapters/quantize.ts"
import { quantizedNames, type WeightQuantization } from "../models/block/packed.ts"
import { elementCount, linearWeights } from "../models/block/parameters.ts"
import {
  isReadByRows,
  type LoadOptions,
  loadQuantizedWeights,
  loadWeights,
  type OpenWeights,
} from "../models/files/open-weights.ts"
import {
  adapterParameters,
  type DecoderShape,
  decoderName,
  doraModules,
  doraNames,
  heldName,
  initialLora,
  initialScore,
  type LoraSpec,
  loraInputs,
  loraParameters,
  type ModelConfig,
  type Parameter,
  quantizedTensors,
  rowSquares,
  SCORE,
} from "../models/index.ts"
import { type Device, type DeviceTensor, float32, type HostTensor } from "../runtime/index.ts"

/** The base model's weights in memory, by the checkpoint's names; closes what it reads. */
export async function baseWeights(
  open: OpenWeights,
  quantization: WeightQuantization | undefined,
  options: LoadOptions = {},
): Promise<Map<string, HostTensor>> {
  if (quantization) return quantizedWeights(open, quantization, options)
  const { parameters } = open
  const { weights } = await loadWeights(open, options)
  return new Map(
    parameters.map(({ name, shape }) => {
      const data = weights.get(name)
      assert(data, `loadWeights left out ${name}`)
      return [name, float32(shape, data)]
    }),
  )
}

interface FrozenOptions {
  readonly device: Device
  readonly quantization?: WeightQuantization | undefined
  /** Under DoRA the lengths of its rows are taken before they are packed. */
  readonly lora?: LoraSpec | undefined
}

/**
 * A base that nothing trains but `options.whole`. Where the device holds matrices packed, each is
 * packed as it is read, so that the float32 model is never whole in memory; elsewhere this is
 * {@link baseWeights}.
 */
export async function frozenWeights(
  open: OpenWeights,
  { device, quantization, lora }: FrozenOptions,
  options: LoadOptions = {},
): Promise<ReadonlyMap<string, HostTensor | DeviceTensor>> {
  if (device.products !== "bf16") return baseWeights(open, quantization, options)
  const coded = quantization ? linearWeights(open.config.shape) : new Set<string>()
  const dora = lora?.useDora ? doraModules(open.config.shape, loraInputs(lora)) : []
  const measured = new Set(dora.map(({ path }) => `${path}.weight`))
  const held = new Map<string, HostTensor | DeviceTensor>()
  const measure = (name: string, rows: number, matrix: () => Float32Array) => {
    if (!measured.has(name)) return
    const { squares } = doraNames(name.replace(/\.weight$/, ""))
    held.set(squares, float32([rows], rowSquares(matrix(), rows)))
  }
  let scratch = new Float32Array(0)
  const hold = async ({ name, shape }: Parameter) => {
    const count = elementCount(shape)
    const isTrained = options.whole?.has(name) === true
    const isMatrix = name.endsWith(".weight") && shape.length === 2 && !isTrained
    if (isMatrix && isReadByRows(open, name)) {
      held.set(name, await factorByRows(open, device, name, shape))
      return
    }
    if (isMatrix && scratch.length < count) scratch = new Float32Array(count)
    const into = isMatrix ? scratch.subarray(0, count) : new Float32Array(count)
    const data = await open.read(name, into)
    const tensor = float32(shape, data)
    if (quantization && isMatrix && coded.has(name)) {
      const size = { outFeatures: shape[0]!, inFeatures: shape[1]! }
      const matrix = quantizeMatrix(data, size, quantization)
      measure(name, shape[0]!, () => dequantizeMatrix(matrix))
      for (const [key, coded] of codedTensors(name, matrix)) held.set(key, coded)
      return
    }
    measure(name, shape[0]!, () => data)
    if (isTrained) held.set(name, tensor)
    else held.set(name, await (isMatrix ? device.uploadFactor(tensor) : device.upload(tensor)))
  }
  try {
    for (const [done, parameter] of open.parameters.entries()) {
      options.signal?.throwIfAborted()
      await hold(parameter)
      options.onProgress?.(done + 1, open.parameters.length)
    }
  } finally {
    await open.close()
  }
  return held
}

function factorByRows(open: OpenWeights, device: Device, name: string, shape: readonly number[]) {
  const [rows, columns] = shape as [number, number]
  const read = (row: number, into: Float32Array) => open.readRows(name, row, into)
  return device.uploadFactor({ shape: [rows, columns], read })
}

/** What stands for a quantised matrix, by the names that graphs know. */
function codedTensors(name: string, matrix: QuantizedMatrix): [string, HostTensor][] {
  const tensors = quantizedTensors(matrix)
  const names = quantizedNames(name)
  return [
    [names.codes, tensors.codes],
    [names.scales, tensors.scales],
    [names.zeros, tensors.zeros],
  ]
}

/** As {@link baseWeights}, with the blocks' linear weights as codes. */
async function quantizedWeights(
  open: OpenWeights,
  quantization: WeightQuantization,
  options: LoadOptions,
): Promise<Map<string, HostTensor>> {
  const loaded = await loadQuantizedWeights(open, quantization, options)
  const result = new Map<string, HostTensor>()
  for (const { name, shape } of open.parameters) {
    const data = loaded.weights.get(name)
    if (data) result.set(name, float32(shape, data))
  }
  for (const [name, matrix] of loaded.quantized) {
    for (const [key, tensor] of codedTensors(name, matrix)) result.set(key, tensor)
  }
  return result
}

/** A score for a base without one; empty where nothing is scored. */
export function newScore(
  { shape, hasNewScore }: ModelConfig,
  seed: number,
): Map<string, HostTensor> {
  const { hiddenSize } = shape
  if (!hasNewScore) return new Map()
  return new Map([[SCORE, float32([1, hiddenSize], initialScore(hiddenSize, seed))]])
}

/**
 * A new adapter, or a saved one (`parameter.NAME`), by the decoder's names; empty without one. What
 * a new one has whole is still the base's, and so are DoRA's first magnitudes. `earlier`: the one
 * that it goes on from, by the same names.
 */
export function adapterWeights(
  shape: DecoderShape,
  lora: LoraSpec | undefined,
  seed: number,
  saved?: ReadonlyMap<string, HostTensor>,
  earlier?: ReadonlyMap<string, Float32Array>,
): Map<string, HostTensor> {
  if (!lora) return new Map()
  if (!saved && earlier) {
    return new Map(
      adapterParameters(shape, lora).flatMap(({ name, shape: dims }) => {
        const key = heldName(decoderName(name), shape)
        const values = earlier.get(key)?.slice() // it is trained in place
        return values ? [[key, float32(dims, values)] as const] : [] // whole modules of a new one
      }),
    )
  }
  if (!saved) {
    const fresh = initialLora(shape, lora, seed)
    const matrices = loraParameters(shape, lora).filter(({ name }) => fresh.has(name))
    return new Map(
      matrices.map(({ name, shape }) => [decoderName(name), float32(shape, fresh.get(name)!)]),
    )
  }
  return new Map(
    adapterParameters(shape, lora).map(({ name }) => {
      const key = heldName(decoderName(name), shape)
      const tensor = saved.get(`parameter.${key}`)
      assert(tensor, `a checkpoint without ${key}`)
      return [key, tensor]
    }),
  )
}
