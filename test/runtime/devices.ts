import type { Device } from "../../src/runtime/index.ts"
import { openDevice } from "../../src/runtime/node.ts"

/** What every device must compute alike; how far from float64 its float32 may be. */
export const DEVICES = [
  { name: "cpu", tolerance: 2e-6 },
  // exp and division of a GPU are good to a few units in the last place.
  { name: "webgpu", tolerance: 1e-5 },
] as const

/** The device, or undefined with its absence said aloud. */
export async function deviceOrSay(name: "cpu" | "webgpu"): Promise<Device | undefined> {
  try {
    return await openDevice({ device: name, threads: 2 })
  } catch (error) {
    console.warn(`NOT TESTED on ${name}: ${(error as Error).message}`)
    return undefined
  }
}
