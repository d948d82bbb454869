import { graph } from "../graph/index.ts"
import type { Device, DeviceTensor } from "../runtime/index.ts"
import { elementwiseUpdate } from "./elementwise.ts"

/** Means of tensors that change from step to step. */
export interface WeightedMean {
  /** decay mean + (1 - decay) value; in place on the CPU, elsewhere `mean` is disposed of. */
  next(mean: DeviceTensor, value: DeviceTensor): Promise<DeviceTensor>
  release(): Promise<void>
}

/** An exponential moving average: e <- e + (1 - decay) (w - e). */
export async function createAverage(device: Device, decay: number): Promise<WeightedMean> {
  const update = elementwiseUpdate<never, "share">(device, ["share"], {
    moments: [],
    scalars: () => ({ share: 1 - decay }),
    graph: ({ parameter: mean, gradient: value }, { share }) =>
      graph("average", { parameter: mean.add(value.sub(mean).mul(share)) }),
  })
  // of an update's settings only the scalars above are read
  const step = { step: 1, learningRate: 0, gradientScale: 1, decay: false }
  return {
    async next(mean, value) {
      const { parameter } = await update.update({ parameter: mean, gradient: value }, step)
      return parameter
    },
    release: () => update.release(),
  }
}
