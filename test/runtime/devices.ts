import type { Device } from "../../src/runtime/index.ts"
import { openDevice } from "../../src/runtime/node.ts"

/** What every device must compute alike; how far from float64 its float32 may be. */
export const DEVICES = [
  { name: "cpu", tolerance: 2e-6 },
  // exp and division of a GPU are good to a few units in the last place.
  { name: "webgpu", tolerance: 1e-5 },
] as const

/** Computes what the CPU does, but for the factors of products, each rounded to 2^-9 of itself. */
export const BF16 = { name: "cpu bf16", tolerance: 1.2e-2 } as const

export type DeviceName = (typeof DEVICES)[number]["name"] | "cpu bf16"

/** The device, or undefined with its absence said aloud. */
export async function deviceOrSay(name: DeviceName): Promise<Device | undefined> {
  try {
    const device = name === "webgpu" ? name : "cpu"
    return await openDevice({ device, threads: 2, dtype: name === "cpu bf16" ? "bf16" : "fp32" })
  } catch (error) {
    console.warn(`NOT TESTED on ${name}: ${(error as Error).message}`)
    return undefined
  }
}
