import type { Config } from "../config/index.ts"
import type { WeightQuantization } from "../models/block/packed.ts"
import {
  adapterParameters,
  Decoder,
  type DecoderShape,
  decoderName,
  decoderParameters,
  heldName,
  type LoraSpec,
  loraInputs,
  type Reference,
  type TensorSource,
  VALUE_HEAD,
} from "../models/index.ts"
import { needs, type Objective } from "../objectives/index.ts"
import { type Device, type DeviceTensor, float32, type HostTensor } from "../runtime/index.ts"
import type { MemoryPlan } from "./memory-plan.ts"
import type { MicroBatch } from "./micro-batches.ts"
import { headRows, optimizerSettings, routerAuxLossCoef } from "./model-settings.ts"
import { runHead } from "./objective-batches.ts"
import { checkGroups } from "./parameter-groups.ts"
import { Policy } from "./policy.ts"
import type { ReferenceModel } from "./reference-logprobs.ts"

/** A model on its device, ready to train. */
export interface TrainedModel {
  readonly policy: Policy
  /** The model as the run began, to be asked before the first update; release it after use. */
  start(): Promise<ReferenceModel & { release(): Promise<void> }>
  /** The model as the run began, for as long as the run goes on; release it at its end. */
  frozen(): Promise<ReferenceModel & { release(): Promise<void> }>
  /** The frozen model's view of a micro-batch, for objectives that have one. */
  readonly reference: ((microBatch: MicroBatch) => Promise<Reference>) | undefined
  release(): Promise<void>
}

export interface TrainedModelParts {
  readonly device: Device
  readonly config: Config
  readonly shape: DecoderShape
  readonly objective: Objective
  readonly lora: LoraSpec | undefined
  readonly quantization: WeightQuantization | undefined
  readonly keep: MemoryPlan["keep"]
  /** Without an adapter: tensors that do not train. */
  readonly frozen?: ReadonlySet<string> | undefined
  /**
   * The base's, and the adapter's where there is one; without one the arrays are trained in place.
   */
  readonly weights: ReadonlyMap<string, HostTensor | DeviceTensor>
  /** A checkpoint's tensors, moments among them; a new run has none. */
  readonly saved?: ReadonlyMap<string, HostTensor>
  /** The adapter was trained before: with it switched off the model is not as the run began. */
  readonly startsChanged?: boolean
  /** Another model as the reference of every token, frozen; left out: the model's start. */
  readonly openReference?:
    | (() => Promise<ReferenceModel & { release(): Promise<void> }>)
    | undefined
  /** The model's start once more, asked for where a frozen copy of it is needed. */
  readonly frozenWeights: () => Promise<ReadonlyMap<string, HostTensor | DeviceTensor>>
}

/** Brings weights and moments onto the device. */
export async function openTrainedModel(parts: TrainedModelParts): Promise<TrainedModel> {
  const { device, shape, quantization, lora, keep, weights } = parts
  const options = {
    device,
    shape,
    quantization,
    headRows: headRows({ shape }, lora, device.products),
  }
  const decoder = await Decoder.open({
    ...options,
    weights: new Map([...weights, ...valueHead(parts)]),
    lora: lora && loraInputs(lora),
    ...{ frozen: parts.frozen, noise: parts.config.neftune_noise_alpha ?? 0 },
    routerAuxLossCoef: routerAuxLossCoef(parts.config, shape, parts.objective),
    keep,
  })
  checkGroups(decoder.gradients.keys(), parts.config)
  const policy = await Policy.open(decoder, optimizerSettings(parts.config), parts.saved)
  const adapter = parts.startsChanged === true
  const start = adapter && lora ? { lora: loraInputs(lora) } : {}
  const openStart = async () =>
    Decoder.open({ ...options, ...start, weights: await parts.frozenWeights() }, { trained: false })
  const startModel = async () => {
    const apart = await openStart()
    return { decoder: apart, adapter, release: () => apart.release() }
  }
  const { needsReference } = runHead(parts.objective)
  // What trains of the base itself cannot be switched off, nor what an adapter was before.
  const isApart = !lora || lora.saved.tensors.size > 0 || adapter
  const frozen = needsReference
    ? ((await parts.openReference?.()) ?? (isApart ? await startModel() : undefined))
    : undefined
  const compared = frozen ?? { decoder, adapter }
  const reference = ({ pack }: MicroBatch) => compared.decoder.reference(pack, compared)
  // A new adapter changes nothing: without it the model is as the run began.
  const itself = { decoder, adapter, release: async () => {} }
  const frozenModel = async () => (isApart ? startModel() : itself)
  return {
    policy,
    frozen: frozenModel,
    start: async () => (parts.saved ? frozenModel() : itself),
    reference: needsReference ? reference : undefined,
    async release() {
      await policy.release()
      await frozen?.release()
    },
  }
}

/**
 * A critic's weight: the checkpoint's, or 0, by which every token is worth nothing; none without a
 * critic.
 */
function valueHead({ objective, shape, saved }: TrainedModelParts): [string, HostTensor][] {
  if (!needs(objective.expression).critic) return []
  const fresh = float32([1, shape.hiddenSize])
  return [[VALUE_HEAD, saved?.get(`parameter.${VALUE_HEAD}`) ?? fresh]]
}

/**
 * What was trained, by the names of its file, read when asked for: the adapter's matrices, or all
 * weights.
 */
export function trainedTensors(decoder: Decoder, lora: LoraSpec | undefined): TensorSource[] {
  const { device, shape, weights } = decoder
  const source = (name: string, shape: readonly number[], held = name): TensorSource => ({
    name,
    shape,
    read: async () => (await device.download(weights.get(held)!)).data as Float32Array,
  })
  return lora
    ? adapterParameters(shape, lora).map(({ name, shape: dims }) =>
        source(name, dims, heldName(decoderName(name), shape)),
      )
    : decoderParameters(shape).map(({ name, shape }) => source(name, shape))
}
