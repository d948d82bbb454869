/** A teacher that follows the policy: the moving average of its weights. */
import { assert } from "../../errors.ts"
import type { TensorToWrite } from "../../formats/index.ts"
import type { Decoder } from "../../models/index.ts"
import { type DeviceTensor, float32, type HostTensor } from "../../runtime/index.ts"
import { tensorToWrite } from "../tensor-to-write.ts"

export interface MovingAverage {
  /** Lends the decoder the average's weights for as long as `use` takes. */
  lent<T>(use: () => Promise<T>): Promise<T>
  /** Moves towards the policy as it is now. */
  follow(): Promise<void>
  /** For a checkpoint. */
  tensors(): TensorToWrite[]
  release(): void
}

/** In a checkpoint, before a tensor's name. */
const PREFIX = "teacher."

/**
 * Of everything that trains, float32; it begins as the policy is, or as a checkpoint has it.
 *
 *     average <- (1 - rate) average + rate policy
 */
export async function movingAverage(
  decoder: Decoder,
  rate: number,
  saved?: ReadonlyMap<string, HostTensor>,
): Promise<MovingAverage> {
  const { device, weights, gradients } = decoder
  const averages = new Map<string, DeviceTensor>()
  const values = async (tensor: DeviceTensor) =>
    (await device.download(tensor)).data as Float32Array
  for (const [name, { shape }] of gradients) {
    const before = saved?.get(PREFIX + name)?.data
    assert(!saved || before, `a checkpoint without the teacher's ${name}`)
    const data = (before as Float32Array | undefined) ?? (await values(weights.get(name)!)).slice()
    averages.set(name, await device.upload(float32(shape, data)))
  }
  return {
    async lent(use) {
      const own = new Map([...averages.keys()].map((name) => [name, weights.get(name)!]))
      for (const [name, average] of averages) weights.set(name, average)
      try {
        return await use()
      } finally {
        for (const [name, tensor] of own) weights.set(name, tensor)
      }
    },
    async follow() {
      for (const [name, average] of averages) {
        const policy = await values(weights.get(name)!)
        const before = await values(average)
        const moved = before.map((value, i) => value + rate * (policy[i]! - value))
        average.dispose()
        averages.set(name, await device.upload(float32(average.shape, moved)))
      }
    },
    tensors: () =>
      [...averages].map(([name, tensor]) => tensorToWrite(PREFIX + name, tensor, device)),
    release() {
      for (const tensor of averages.values()) tensor.dispose()
    },
  }
}

/** A checkpoint's, for the next one, as long as nothing has asked for the average. */
export function keptTensors(saved: ReadonlyMap<string, HostTensor> | undefined): TensorToWrite[] {
  return [...(saved ?? [])].flatMap(([name, { shape, data }]): TensorToWrite[] => {
    if (!name.startsWith(PREFIX)) return []
    const { buffer, byteOffset, byteLength } = data as Float32Array
    return [{ name, dtype: "F32", shape, data: new Uint8Array(buffer, byteOffset, byteLength) }]
  })
}
