/** An exponential moving average of the weights that train. */
import type { TensorToWrite } from "../formats/index.ts"
import { createAverage, type WeightedMean } from "../optim/index.ts"
import { type Device, type DeviceTensor, float32, type HostTensor } from "../runtime/index.ts"
import { tensorToWrite } from "./tensor-to-write.ts"

const SAVED = "ema."

/**
 * As torch.optim.swa_utils.AveragedModel has it: the weights after the first step, and from then on
 * decay times itself and the rest of them. Float32, on the device.
 */
export class WeightAverage {
  readonly #device: Device
  readonly #mean: WeightedMean
  readonly #held: Map<string, DeviceTensor>
  readonly #saved: string

  private constructor(
    device: Device,
    mean: WeightedMean,
    held: Map<string, DeviceTensor>,
    saved: string,
  ) {
    this.#device = device
    this.#mean = mean
    this.#held = held
    this.#saved = saved
  }

  /**
   * `saved`: a checkpoint's tensors, `prefix` before their names; without them nothing has been
   * averaged yet.
   */
  static async open(
    device: Device,
    decay: number,
    saved: ReadonlyMap<string, HostTensor>,
    prefix = SAVED,
  ): Promise<WeightAverage> {
    const held = new Map<string, DeviceTensor>()
    for (const [name, tensor] of saved) {
      if (!name.startsWith(prefix)) continue
      held.set(name.slice(prefix.length), await device.upload(tensor))
    }
    return new WeightAverage(device, await createAverage(device, decay), held, prefix)
  }

  /** After an update: `names` of the weights are those that train. */
  async take(weights: ReadonlyMap<string, DeviceTensor>, names: Iterable<string>): Promise<void> {
    for (const name of names) {
      const weight = weights.get(name)!
      const before = this.#held.get(name)
      if (before) {
        this.#held.set(name, await this.#mean.next(before, weight))
        continue
      }
      const { data } = await this.#device.download(weight)
      const copy = float32(weight.shape, (data as Float32Array).slice())
      this.#held.set(name, await this.#device.upload(copy))
    }
  }

  /** Puts the average in the weights' place and keeps them, or the other way round. */
  exchange(weights: Map<string, DeviceTensor>): void {
    for (const [name, held] of [...this.#held]) {
      this.#held.set(name, weights.get(name)!)
      weights.set(name, held)
    }
  }

  /** For a checkpoint. */
  tensors(): TensorToWrite[] {
    return [...this.#held].map(([name, tensor]) =>
      tensorToWrite(this.#saved + name, tensor, this.#device),
    )
  }

  async release(): Promise<void> {
    await this.#mean.release()
    for (const tensor of this.#held.values()) tensor.dispose()
  }
}

/** The average in a checkpoint's tensors, by the weight's name. */
export const savedAverage = (tensors: ReadonlyMap<string, HostTensor>, name: string) =>
  tensors.get(SAVED + name)?.data as Float32Array | undefined
