/** A teacher that follows the policy: the moving average of its weights. */
import type { TensorToWrite } from "../../formats/index.ts"
import type { Decoder } from "../../models/index.ts"
import type { HostTensor } from "../../runtime/index.ts"
import { heldTensor } from "../tensor-to-write.ts"
import { WeightAverage } from "../weight-average.ts"

export interface MovingAverage {
  /** Lends the decoder the average's weights for as long as `use` takes. */
  lent<T>(use: () => Promise<T>): Promise<T>
  /** Moves towards the policy as it is now. */
  follow(): Promise<void>
  /** For a checkpoint. */
  tensors(): TensorToWrite[]
  release(): Promise<void>
}

/** In a checkpoint, before a tensor's name. */
const PREFIX = "teacher."

/**
 * Of everything that trains; it begins as the policy is, or as a checkpoint has it.
 *
 *     average <- (1 - rate) average + rate policy
 */
export async function movingAverage(
  { device, weights, gradients }: Decoder,
  rate: number,
  saved: ReadonlyMap<string, HostTensor> = new Map(),
): Promise<MovingAverage> {
  const average = await WeightAverage.open(device, 1 - rate, saved, PREFIX)
  const follow = () => average.take(weights, gradients.keys())
  if (saved.size === 0) await follow()
  return {
    async lent(use) {
      average.exchange(weights)
      try {
        return await use()
      } finally {
        average.exchange(weights)
      }
    },
    follow,
    tensors: () => average.tensors(),
    release: () => average.release(),
  }
}

/** A checkpoint's, for the next one, as long as nothing has asked for the average. */
export function keptTensors(saved: ReadonlyMap<string, HostTensor> | undefined): TensorToWrite[] {
  return [...(saved ?? [])]
    .filter(([name]) => name.startsWith(PREFIX))
    .map(([name, { shape, data }]) => heldTensor(name, shape, data as Float32Array))
}
