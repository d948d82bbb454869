import type { Device, DeviceTensor, Executable } from "../../runtime/index.ts"

type Tensors = Record<string, DeviceTensor>

/**
 * Places for results of fixed shape, kept from step to step so that memory does not grow; a smaller
 * pack uses the front of a larger one's. None where the device has memory of its own.
 */
export class ResultPlaces {
  readonly #device: Device
  readonly #places = new Map<string, ArrayBuffer>()

  constructor(device: Device) {
    this.#device = device
  }

  /** Of the executable's results, `given` among them; `owner` is who has the places. */
  async all(executable: Executable, owner: string, given: Tensors): Promise<Tensors> {
    if (!this.#device.sharesHostMemory) return given
    const into: Tensors = { ...given }
    for (const { name, dtype, shape } of executable.graph.outputs) {
      const isReal = dtype === "f32" || dtype === "bf16"
      if (into[name] || !isReal || shape.some((dim) => typeof dim === "string")) continue
      into[name] = await this.#place(`${owner} ${name}`, dtype, shape as readonly number[])
    }
    return into
  }

  /** One result's, under its name. */
  async one(name: string, owner: string, shape: readonly number[]): Promise<Tensors> {
    if (!this.#device.sharesHostMemory) return {}
    return { [name]: await this.#place(owner, "f32", shape) }
  }

  clear(): void {
    this.#places.clear()
  }

  #place(key: string, dtype: "f32" | "bf16", shape: readonly number[]): Promise<DeviceTensor> {
    const size = shape.reduce((product, dim) => product * dim, 1)
    // A result of this name may be of another type in the graph of another size.
    const array = dtype === "f32" ? Float32Array : Uint16Array
    const bytes = size * array.BYTES_PER_ELEMENT
    let place = this.#places.get(key)
    if (!place || place.byteLength < bytes) {
      place = new ArrayBuffer(bytes)
      this.#places.set(key, place)
    }
    return this.#device.upload({ dtype, shape, data: new array(place, 0, size) })
  }
}
