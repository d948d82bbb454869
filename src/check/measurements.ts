import type { HeadSettings } from "../models/decoder/head-stage.ts"
import { openWeights } from "../models/files/index.ts"
import {
  Decoder,
  type LoraSpec,
  loraInputs,
  type Pack,
  type WeightQuantization,
} from "../models/index.ts"
import { objectiveFromConfig } from "../objectives/index.ts"
import type { Device, HostTensor, Precision } from "../runtime/index.ts"
import { forwardBackward } from "../train/forward-backward.ts"
import type { StepBatch } from "../train/micro-batches.ts"
import { baseWeights } from "../train/model-weights.ts"
import { runHead } from "../train/objective-batches.ts"
import { objectiveHead } from "../train/objective-head.ts"
import { openTrainedModel, type TrainedModel } from "../train/trained-model.ts"
import type { Subject } from "./subject.ts"

/** The run's model on a device of a precision, with a new adapter where the run has one. */
export async function withModel<T>(
  subject: Omit<Subject, "rows">,
  dtype: Precision,
  use: (model: TrainedModel, device: Device) => Promise<T>,
): Promise<T> {
  const { plan, tried, signal } = subject
  const { config, objective, lora, quantization, model, memory } = plan
  const { shape } = model
  const { device: kind, threads } = plan.engine
  const device = await tried.openDevice({ device: kind, threads, dtype })
  try {
    const options = signal ? { signal } : {}
    const folder = plan.modelFolder
    const base = await baseWeights(await openWeights(folder), quantization, options)
    const adapter = tried.adapterWeights(shape, lora, config.seed)
    const trained = await openTrainedModel({
      ...{ device, config, shape, objective, lora, quantization, keep: memory.keep },
      weights: new Map([...base, ...adapter]),
      frozenWeights: async () => baseWeights(await openWeights(folder), undefined, options),
    })
    try {
      return await use(trained, device)
    } finally {
      await trained.release()
    }
  } finally {
    await device.release()
  }
}

export interface FrozenOptions {
  readonly lora?: LoraSpec | undefined
  /** As the run has it, if left out the base is as its file has it. */
  readonly quantization?: WeightQuantization | undefined
  /** Changes the weights before the model is made of them. */
  readonly change?: (weights: Map<string, HostTensor>) => void
}

/** The model without gradients: the base alone, or with an adapter. */
export async function withFrozen<T>(
  { plan, tried, signal }: Subject,
  { lora, quantization, change }: FrozenOptions,
  use: (decoder: Decoder) => Promise<T>,
): Promise<T> {
  const { shape } = plan.model
  const { device: kind, threads } = plan.engine
  const device = await tried.openDevice({ device: kind, threads, dtype: "fp32" })
  try {
    const options = signal ? { signal } : {}
    const base = await baseWeights(await openWeights(plan.modelFolder), quantization, options)
    const adapter = tried.adapterWeights(shape, lora, plan.config.seed)
    const parts = { device, shape, quantization, lora: lora && loraInputs(lora) }
    const weights = new Map([...base, ...adapter])
    change?.(weights)
    const decoder = await Decoder.open({ ...parts, weights }, { trained: false })
    try {
      return await use(decoder)
    } finally {
      await decoder.release()
    }
  } finally {
    await device.release()
  }
}

export interface Measured {
  readonly loss: number
  readonly nll: number
  /** Sums over the step's tokens, by the trained tensor's name. */
  readonly gradients: ReadonlyMap<string, Float32Array>
  /** What the step divides them by. */
  readonly divisor: number
}

/** The supervised objective, for comparisons that are not about the run's own. */
const PLAIN = objectiveFromConfig({ name: "sft", keep_special: false })

/**
 * One step's loss, NLL and gradients, which the next step writes over; the weights stay as they
 * are.
 */
export async function measured(
  { policy, reference }: TrainedModel,
  batch: StepBatch,
  objective = PLAIN,
  temperature = 1,
): Promise<Measured> {
  const result = await forwardBackward({
    policy,
    head:
      objective.trainsOn === "targets" ? objectiveHead(objective) : runHead(objective, temperature),
    normalization: objective.normalization,
    batch,
    scalars: { progress: 0, step: 1, steps: 1, kl_step: 0 },
    reference,
    seed: () => 0,
  })
  const { device } = policy.decoder
  const gradients = new Map<string, Float32Array>()
  for (const [name, tensor] of policy.decoder.gradients) {
    gradients.set(name, (await device.download(tensor)).data as Float32Array)
  }
  const { statistics, loss, divisor } = result!
  return { loss, nll: statistics.nll / statistics.count, gradients, divisor }
}

const LOGPROBS: HeadSettings = {
  loss: ({ logp }) => ({ loss: logp.neg(), coefficients: { logp: logp.mul(0).sub(1) } }),
}

/** Log-probabilities of a pack's supervised tokens. */
export async function logprobs(decoder: Decoder, pack: Pack): Promise<Float32Array> {
  const { logp } = await decoder.evaluate(pack, LOGPROBS)
  return logp
}
