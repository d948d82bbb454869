import type { TensorToWrite } from "../formats/index.ts"
import type { Decoder } from "../models/index.ts"
import { type AdamW, createAdamW, createSquaredNorm, decays } from "../optim/index.ts"
import { type Device, type DeviceTensor, float32, type HostTensor } from "../runtime/index.ts"

export interface OptimizerSettings {
  readonly beta1: number
  readonly beta2: number
  readonly epsilon: number
  readonly weightDecay: number
}

export interface UpdateOptions {
  /** From 1. */
  readonly step: number
  readonly learningRate: number
  /** What the accumulated gradients are multiplied with. */
  readonly gradientScale: number
}

interface Moments {
  first: DeviceTensor
  second: DeviceTensor
}

/** A decoder that learns: its weights, their gradients, AdamW's moments. */
export class Policy {
  readonly decoder: Decoder
  readonly #moments: Map<string, Moments>
  readonly #adamw: AdamW
  readonly #squaredNorm: Awaited<ReturnType<typeof createSquaredNorm>>

  private constructor(
    decoder: Decoder,
    moments: Map<string, Moments>,
    adamw: AdamW,
    squaredNorm: Awaited<ReturnType<typeof createSquaredNorm>>,
  ) {
    this.decoder = decoder
    this.#moments = moments
    this.#adamw = adamw
    this.#squaredNorm = squaredNorm
  }

  /** `state` holds a checkpoint's moments by name (`first.NAME`, `second.NAME`); zeros without. */
  static async open(
    decoder: Decoder,
    settings: OptimizerSettings,
    state: ReadonlyMap<string, HostTensor> = new Map(),
  ): Promise<Policy> {
    const moments = new Map<string, Moments>()
    for (const [name, { shape }] of decoder.gradients) {
      const upload = (kind: string) =>
        decoder.device.upload(state.get(`${kind}.${name}`) ?? float32(shape))
      moments.set(name, { first: await upload("first"), second: await upload("second") })
    }
    const { device } = decoder
    return new Policy(
      decoder,
      moments,
      await createAdamW(device, settings),
      await createSquaredNorm(device),
    )
  }

  /** Sum of squares of all accumulated gradients. */
  squaredGradientNorm(): Promise<number> {
    return this.#squaredNorm.of([...this.decoder.gradients.values()])
  }

  async update({ step, learningRate, gradientScale }: UpdateOptions): Promise<void> {
    const { weights, gradients } = this.decoder
    for (const [name, gradient] of gradients) {
      const { first, second } = this.#moments.get(name)!
      const updated = await this.#adamw.update(
        { parameter: weights.get(name)!, gradient, first, second },
        { step, learningRate, gradientScale, decay: decays(gradient.shape) },
      )
      weights.set(name, updated.parameter)
      this.#moments.set(name, { first: updated.first, second: updated.second })
    }
  }

  /** The moments for a checkpoint: `first.NAME`, `second.NAME`, read from the device when written. */
  momentTensors(): TensorToWrite[] {
    return [...this.#moments].flatMap(([name, { first, second }]) => [
      tensorToWrite(`first.${name}`, first, this.decoder.device),
      tensorToWrite(`second.${name}`, second, this.decoder.device),
    ])
  }

  async release(): Promise<void> {
    await this.#adamw.release()
    await this.#squaredNorm.release()
    for (const { first, second } of this.#moments.values()) {
      first.dispose()
      second.dispose()
    }
    await this.decoder.release()
  }
}

/** A float32 tensor of a device as a file takes it: downloaded when its turn comes. */
export function tensorToWrite(name: string, tensor: DeviceTensor, device: Device): TensorToWrite {
  return {
    name,
    dtype: "F32",
    shape: tensor.shape,
    data: async () => {
      const { data } = await device.download(tensor)
      return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
    },
  }
}
