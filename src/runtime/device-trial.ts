import { graph, input } from "../graph/index.ts"
import { type Device, float32 } from "./device.ts"

/** What a device did with a product whose value is known. */
export interface DeviceTrial {
  /** Why the device cannot be used. */
  readonly problem?: string
  /** Of one product of two n x n matrices, after a first one. */
  readonly milliseconds: number
}

/**
 * Computes a known product of two n x n matrices twice: whether the device is right, and how fast.
 */
export async function deviceTrial(device: Device, n = 1024): Promise<DeviceTrial> {
  const failed = (problem: string) => ({ problem, milliseconds: Number.POSITIVE_INFINITY })
  try {
    const [a, b] = [input("a", [n, n]), input("b", [n, n])]
    const product = await device.compile(graph("trial", { sum: a.matmul(b).sum([0, 1]) }))
    const feeds = {
      a: await device.upload(float32([n, n], new Float32Array(n * n).fill(0.5))),
      b: await device.upload(float32([n, n], new Float32Array(n * n).fill(2))),
    }
    let milliseconds = 0
    for (let i = 0; i < 2; i++) {
      const start = performance.now()
      const { sum } = await product.run(feeds)
      const { data } = await device.download(sum!)
      milliseconds = performance.now() - start
      sum!.dispose()
      if (Number(data[0]) !== n ** 3) return failed(`it computes wrong numbers (${data[0]})`)
    }
    for (const tensor of Object.values(feeds)) tensor.dispose()
    await product.release()
    return { milliseconds }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    return failed(message.trim().replace(/^.* was false\. /s, ""))
  }
}
