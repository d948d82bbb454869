import { layerPlans } from "../models/block/layer-plan.ts"
import { PackedModel } from "../models/decoding/packed-model.ts"
import {
  decoderParameters,
  dequantizeTensors,
  EMBEDDING,
  elementCount,
  headName,
  type LoraInputs,
  linearWeights,
  quantizedNames,
} from "../models/index.ts"
import type { Device, DeviceTensor, HostData } from "../runtime/index.ts"
import type { TabModel } from "./tab-model.ts"

/**
 * What a packed copy of a model's products takes, in bytes: float32, the head's beside its table.
 */
export function packedBytes({ config: { shape } }: Pick<TabModel, "config">): number {
  const linears = linearWeights(shape)
  const held = decoderParameters(shape).filter(
    ({ name }) => linears.has(name) || name === headName(shape),
  )
  return 4 * held.reduce((sum, { shape }) => sum + elementCount(shape), 0)
}

interface Packed {
  readonly model: Promise<PackedModel>
  users: number
}

/**
 * A frozen base, made ready once for all the runs that sample from it: its products keep float32
 * copies, packed as they read them. Decoding the codes of an int8 base at each token takes about
 * twenty times as long as its products do (docs/log.md).
 */
export class PackedBase {
  readonly #device: Device
  readonly #model: TabModel
  /** By the form of the adapters that they are used under. */
  readonly #packed = new Map<string, Packed>()

  constructor(device: Device, model: TabModel) {
    this.#device = device
    this.#model = model
  }

  /**
   * The base under an adapter, whose matrices are read at each run; packed at first use, and kept
   * until another form of adapter is asked for and nobody uses this one.
   */
  async under(
    lora: LoraInputs,
    adapter: ReadonlyMap<string, DeviceTensor>,
    onProgress: (share: number) => void = () => {},
  ): Promise<{ readonly model: PackedModel; release(): void }> {
    const form = layerPlans(this.#model.config.shape, lora)
      .map(({ key }) => key)
      .join()
    for (const [other, { users }] of this.#packed) {
      if (other !== form && users === 0) await this.#drop(other)
    }
    const packed = this.#packed.get(form) ?? { model: this.#pack(lora, onProgress), users: 0 }
    this.#packed.set(form, packed)
    packed.users++
    try {
      const model = (await packed.model).under(adapter)
      return { model, release: () => void packed.users-- }
    } catch (error) {
      this.#packed.delete(form)
      throw error
    }
  }

  async release(): Promise<void> {
    for (const form of [...this.#packed.keys()]) await this.#drop(form)
  }

  async #drop(form: string): Promise<void> {
    const packed = this.#packed.get(form)!
    this.#packed.delete(form)
    await (await packed.model).release()
  }

  #pack(lora: LoraInputs, onProgress: (share: number) => void): Promise<PackedModel> {
    const { config, weights, quantization } = this.#model
    const { shape } = config
    const linears = linearWeights(shape)
    const data = (name: string) => weights.get(name)!.data
    const table = data(EMBEDDING) as Float32Array
    const count = decoderParameters(shape).length
    let packed = 0
    return PackedModel.pack({
      device: this.#device,
      shape,
      lora,
      fedAdapter: true,
      weight(name, into) {
        onProgress(Math.min(1, ++packed / count))
        if (!quantization || !linears.has(name)) return copied(data(name), into)
        const { codes, scales, zeros } = quantizedNames(name)
        const tensors = {
          codes: weights.get(codes)!,
          scales: weights.get(scales)!,
          zeros: weights.get(zeros)!,
        }
        return dequantizeTensors(tensors, quantization, into)
      },
      async embeddingRow(id, into) {
        const first = id * shape.hiddenSize
        into.set(table.subarray(first, first + shape.hiddenSize))
      },
    })
  }
}

function copied(data: HostData, into: Float32Array): Float32Array {
  into.set(data as Float32Array)
  return into
}
