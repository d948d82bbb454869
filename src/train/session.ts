import { openWeights } from "../models/files/index.ts"
import type { AdapterStart } from "../models/index.ts"
import { progressMeter } from "../report/progress.ts"
import type { Device, DeviceTensor, HostTensor } from "../runtime/index.ts"
import { openDevice } from "../runtime/node.ts"
import { adapterStart, besideStart } from "./adapter-start.ts"
import type { Checkpoint } from "./checkpoint.ts"
import { openFrozenModel } from "./frozen-model.ts"
import { adapterWeights, baseWeights, frozenWeights, newScore } from "./model-weights.ts"
import type { RunPlan } from "./plan.ts"
import { openTrainedModel, type TrainedModel } from "./trained-model.ts"

/** A device of this machine with the model on it, ready to train. */
export interface Session extends TrainedModel {
  readonly device: Device
  /** What the adapter began with, where that is a part of the base. */
  readonly begun: AdapterStart | undefined
  /** Lets go of the arrays too; a second time it does nothing. */
  release(): Promise<void>
}

interface OpenSessionOptions {
  readonly checkpoint?: Checkpoint
  readonly signal?: AbortSignal
  readonly onProgress?: ((message: string) => void) | undefined
}

/**
 * Loads the model onto the device: the base, or the checkpoint's weights when a run is continued.
 * A frozen base is always read from the model's own folder.
 */
export async function openSession(
  plan: RunPlan,
  { checkpoint, signal, onProgress }: OpenSessionOptions = {},
): Promise<Session> {
  const { config, objective, lora, quantization, memory } = plan
  const { shape } = plan.model
  const kind = { scores: shape.scores === true }
  const { device: name, threads, dtype } = plan.engine
  const meter = progressMeter(`loading ${config.model}`, { unit: "tensors" })
  const options = {
    ...(signal ? { signal } : {}),
    ...(lora ? { whole: lora.saved.tensors } : {}),
    onProgress: (done: number, all: number) => onProgress?.(meter(done, all)),
  }
  const device = await openDevice({ device: name, threads, dtype })
  const continued = checkpoint && !lora
  const saved = checkpoint?.tensors
  const begun = await adapterStart(plan, { device, saved, signal, onProgress })
  const opened = await openWeights(continued ? checkpoint.path : plan.modelFolder, kind)
  const open = besideStart(opened, plan, begun)
  const base = lora
    ? await frozenWeights(open, { device, quantization, lora }, options)
    : await baseWeights(open, undefined, options)
  const earlier = begun ?? plan.earlier?.tensors
  const adapter = adapterWeights(shape, lora, config.seed, saved, earlier)
  const other = plan.rollout?.measuredBy
  const fresh = continued ? [] : newScore(plan.model, config.seed)
  const model = await openTrainedModel({
    ...{ device, config, shape, objective, lora, quantization },
    ...{ keep: memory.keep, frozen: plan.frozen },
    weights: new Map<string, HostTensor | DeviceTensor>([...fresh, ...base, ...adapter]),
    ...(checkpoint ? { saved: checkpoint.tensors } : {}),
    startsChanged: earlier !== undefined,
    ...(other ? { openReference: () => openFrozenModel(other, device, signal) } : {}),
    frozenWeights: async () => {
      const source = besideStart(await openWeights(plan.modelFolder, kind), plan, begun)
      const start = adapterWeights(shape, earlier && lora, config.seed, undefined, earlier)
      const whole = new Set([...start.keys()].filter((name) => lora?.saved.tensors.has(name)))
      const stop = signal ? { signal } : {}
      const ways = { device, quantization, lora: earlier && lora }
      const held = await frozenWeights(source, ways, { ...stop, whole })
      return new Map([...held, ...start])
    },
  })
  let isOpen = true
  return {
    ...model,
    ...{ device, begun },
    async release() {
      if (!isOpen) return
      isOpen = false
      await model.release()
      await device.release()
    },
  }
}
