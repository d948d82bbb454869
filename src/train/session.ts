import { assert } from "../errors.ts"
import { quantizedNames, type WeightQuantization } from "../models/block/packed.ts"
import { loadModel, loadQuantizedModel } from "../models/files/index.ts"
import {
  Decoder,
  decoderName,
  decoderParameters,
  initialLora,
  loraInputs,
  loraParameters,
  quantizedTensors,
  type Reference,
} from "../models/index.ts"
import { type Device, float32, type HostTensor } from "../runtime/index.ts"
import { openDevice } from "../runtime/node.ts"
import type { Checkpoint } from "./checkpoint.ts"
import type { MicroBatch } from "./micro-batches.ts"
import { objectiveHead } from "./objective-head.ts"
import { HEAD_ROWS, type RunPlan } from "./plan.ts"
import { Policy } from "./policy.ts"

/** A device with the model on it, ready to train. */
export interface Session {
  readonly device: Device
  readonly policy: Policy
  /** The frozen model's view of a micro-batch, for objectives that have one. */
  readonly reference: ((microBatch: MicroBatch) => Promise<Reference>) | undefined
  release(): Promise<void>
}

/** The base model's weights in memory, by the checkpoint's names. */
async function baseWeights(
  folder: string,
  quantization: WeightQuantization | undefined,
  signal?: AbortSignal,
): Promise<Map<string, HostTensor>> {
  const options = signal ? { signal } : {}
  if (quantization) return quantizedWeights(folder, quantization, options)
  const { config, weights } = await loadModel(folder, options)
  return new Map(
    decoderParameters(config.shape).map(({ name, shape }) => {
      const data = weights.get(name)
      assert(data, `loadModel left out ${name}`)
      return [name, float32(shape, data)]
    }),
  )
}

/** The same with the blocks' linear weights as codes. */
async function quantizedWeights(
  folder: string,
  quantization: WeightQuantization,
  options: { readonly signal?: AbortSignal },
): Promise<Map<string, HostTensor>> {
  const loaded = await loadQuantizedModel(folder, quantization, options)
  const result = new Map<string, HostTensor>()
  for (const { name, shape } of decoderParameters(loaded.config.shape)) {
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

/** A new adapter, or a checkpoint's, by the decoder's names. */
function adapterWeights(
  plan: RunPlan,
  checkpoint: Checkpoint | undefined,
): Map<string, HostTensor> {
  const { model, lora, config } = plan
  if (!lora) return new Map()
  const fresh = checkpoint ? undefined : initialLora(model.shape, lora, config.seed)
  return new Map(
    loraParameters(model.shape, lora).map(({ name, shape }) => {
      const key = decoderName(name)
      const saved = checkpoint?.tensors.get(`parameter.${key}`)
      return [key, saved ?? float32(shape, fresh!.get(name)!)]
    }),
  )
}

/**
 * Loads the model onto the device: the base, or the checkpoint's weights when a run is continued.
 * A frozen base is always read from the model's own folder.
 */
export async function openSession(
  plan: RunPlan,
  { checkpoint, signal }: { readonly checkpoint?: Checkpoint; readonly signal?: AbortSignal } = {},
): Promise<Session> {
  const { model, lora, config, memory } = plan
  const { device: name, threads } = plan.engine
  const device = await openDevice({ device: name, threads })
  const continued = checkpoint && !lora
  const base = await baseWeights(
    continued ? checkpoint.path : plan.modelFolder,
    plan.quantization,
    signal,
  )
  const weights = new Map([...base, ...adapterWeights(plan, checkpoint)])
  const options = {
    device,
    shape: model.shape,
    quantization: plan.quantization,
    headRows: HEAD_ROWS,
  }
  const decoder = await Decoder.open({
    ...options,
    weights,
    lora: lora && loraInputs(lora),
    keep: memory.keep,
  })
  const policy = await Policy.open(
    decoder,
    {
      beta1: config.adam_beta1,
      beta2: config.adam_beta2,
      epsilon: config.adam_epsilon,
      weightDecay: config.weight_decay,
    },
    checkpoint?.tensors,
  )

  let frozen: Decoder | undefined
  if (objectiveHead(plan.objective).needsReference && !lora) {
    const copy = await baseWeights(plan.modelFolder, undefined, signal)
    frozen = await Decoder.open({ ...options, weights: copy }, { trained: false })
  }
  const needsReference = objectiveHead(plan.objective).needsReference
  const reference = ({ pack }: MicroBatch) =>
    (frozen ?? decoder).reference(pack, { adapter: false })
  return {
    device,
    policy,
    reference: needsReference ? reference : undefined,
    async release() {
      await policy.release()
      await frozen?.release()
      await device.release()
    },
  }
}
