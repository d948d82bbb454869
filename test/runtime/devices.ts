import { createRequire } from "node:module"
import { openWebDevice, type WebRuntime } from "../../src/browser/web-device.ts"
import type { Device } from "../../src/runtime/index.ts"
import { openDevice } from "../../src/runtime/node.ts"

/** What every device must compute alike; how far from float64 its float32 may be. */
export const DEVICES = [
  { name: "cpu", tolerance: 2e-6 },
  // exp and division of a GPU are good to a few units in the last place.
  { name: "webgpu", tolerance: 1e-5 },
  // A browser's CPU; the web's build of ONNX Runtime runs in Node too.
  { name: "wasm", tolerance: 2e-6 },
] as const

/** Computes what the CPU does, but for the factors of products, each rounded to 2^-9 of itself. */
export const BF16 = { name: "cpu bf16", tolerance: 1.2e-2 } as const

export type DeviceName = (typeof DEVICES)[number]["name"] | "cpu bf16"

/** The device, or undefined with its absence said aloud. */
export async function deviceOrSay(name: DeviceName): Promise<Device | undefined> {
  try {
    if (name === "wasm") {
      const ort = createRequire(import.meta.url)("onnxruntime-web") as WebRuntime
      return await openWebDevice(ort, { device: "wasm", threads: 1 })
    }
    const device = name === "webgpu" ? name : "cpu"
    return await openDevice({ device, threads: 2, dtype: name === "cpu bf16" ? "bf16" : "fp32" })
  } catch (error) {
    console.warn(`NOT TESTED on ${name}: ${(error as Error).message}`)
    return undefined
  }
}
