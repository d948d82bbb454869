import type { Graph } from "../graph/index.ts"
import type { Device, Executable } from "./device.ts"

/** Graphs compiled on a device, each once for its key. */
export class CompiledGraphs {
  readonly #device: Device
  readonly #made = new Map<string, Promise<Executable>>()

  constructor(device: Device) {
    this.#device = device
  }

  once(key: string, trace: () => Graph): Promise<Executable> {
    const known = this.#made.get(key)
    if (known) return known
    const made = this.#device.compile(trace())
    this.#made.set(key, made)
    return made
  }

  async release(): Promise<void> {
    for (const made of this.#made.values()) await (await made).release()
    this.#made.clear()
  }
}
