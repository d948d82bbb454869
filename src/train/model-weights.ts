import { assert } from "../errors.ts"
import { quantizedNames, type WeightQuantization } from "../models/block/packed.ts"
import { elementCount } from "../models/block/parameters.ts"
import {
  type LoadOptions,
  loadQuantizedWeights,
  loadWeights,
  type OpenWeights,
} from "../models/files/open-weights.ts"
import {
  adapterParameters,
  type DecoderShape,
  decoderName,
  heldName,
  initialLora,
  initialScore,
  type LoraSpec,
  loraParameters,
  type ModelConfig,
  quantizedTensors,
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

/**
 * A base that nothing trains but `options.whole`. Where the device holds matrices packed, each is packed
 * as it is read, so that the float32 model is never whole in memory; elsewhere this is {@link baseWeights}.
 */
export async function frozenWeights(
  open: OpenWeights,
  { device, quantization }: { device: Device; quantization?: WeightQuantization | undefined },
  options: LoadOptions = {},
): Promise<ReadonlyMap<string, HostTensor | DeviceTensor>> {
  if (quantization || device.products !== "bf16") return baseWeights(open, quantization, options)
  const held = new Map<string, HostTensor | DeviceTensor>()
  let scratch = new Float32Array(0)
  try {
    for (const { name, shape } of open.parameters) {
      options.signal?.throwIfAborted()
      const count = elementCount(shape)
      const isTrained = options.whole?.has(name) === true
      const isPacked = name.endsWith(".weight") && shape.length === 2 && !isTrained
      if (isPacked && scratch.length < count) scratch = new Float32Array(count)
      const into = isPacked ? scratch.subarray(0, count) : new Float32Array(count)
      const tensor = float32(shape, await open.read(name, into))
      if (isTrained) held.set(name, tensor)
      else held.set(name, await (isPacked ? device.uploadFactor(tensor) : device.upload(tensor)))
      options.onProgress?.(held.size, open.parameters.length)
    }
  } finally {
    await open.close()
  }
  return held
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
    const tensors = quantizedTensors(matrix)
    const names = quantizedNames(name)
    result.set(names.codes, tensors.codes)
    result.set(names.scales, tensors.scales)
    result.set(names.zeros, tensors.zeros)
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
 * A new adapter, or a saved one (`parameter.NAME`), by the decoder's names; empty without one. What a
 * new one has whole is still the base's.
 */
export function adapterWeights(
  shape: DecoderShape,
  lora: LoraSpec | undefined,
  seed: number,
  saved?: ReadonlyMap<string, HostTensor>,
): Map<string, HostTensor> {
  if (!lora) return new Map()
  if (!saved) {
    const fresh = initialLora(shape, lora, seed)
    return new Map(
      loraParameters(shape, lora).map(({ name, shape }) => [
        decoderName(name),
        float32(shape, fresh.get(name)!),
      ]),
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
