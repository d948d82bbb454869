import { assert } from "../run/errors.ts"
import { type Device, type DeviceTensor, float32 } from "../runtime/index.ts"
import type { DecoderShape } from "./shape.ts"

interface LayerCache {
  readonly keys: DeviceTensor
  readonly values: DeviceTensor
}

/** Places are added by doubling from this. */
const LEAST_PLACES = 64

/** Keys and values of B sequences, per layer [B, K, P, D] each. P grows; contents are kept. */
export class KvCache {
  readonly lanes: number
  readonly #device: Device
  readonly #shape: DecoderShape
  #places: number
  #layers: LayerCache[]

  private constructor(device: Device, shape: DecoderShape, lanes: number) {
    this.#device = device
    this.#shape = shape
    this.lanes = lanes
    this.#places = 0
    this.#layers = []
  }

  static async open(
    device: Device,
    shape: DecoderShape,
    lanes: number,
    places: number,
  ): Promise<KvCache> {
    const cache = new KvCache(device, shape, lanes)
    await cache.reserve(places)
    return cache
  }

  /** P: tokens of a sequence that there is room for. */
  get places(): number {
    return this.#places
  }

  layer(layer: number): LayerCache {
    return this.#layers[layer]!
  }

  /** What a step has made of a layer's cache (the same tensors where it is updated in place). */
  replace(layer: number, keys: DeviceTensor, values: DeviceTensor): void {
    this.#layers[layer] = { keys, values }
  }

  /** Makes room for `places` tokens in every lane. */
  async reserve(places: number): Promise<void> {
    if (places <= this.#places) return
    let size = Math.max(LEAST_PLACES, this.#places)
    while (size < places) size *= 2
    const { numKeyValueHeads: K, headDim: D, numHiddenLayers } = this.#shape
    const dims = [this.lanes, K, size, D]
    const old = this.#places
    const grown = async (from: DeviceTensor | undefined) => {
      const data = new Float32Array(this.lanes * K * size * D)
      const known = from && hostData(from)
      for (let row = 0; known && row < this.lanes * K; row++) {
        data.set(known.subarray(row * old * D, (row + 1) * old * D), row * size * D)
      }
      from?.dispose()
      return this.#device.upload(float32(dims, data))
    }
    for (let layer = 0; layer < numHiddenLayers; layer++) {
      const { keys, values } = this.#layers[layer] ?? {}
      this.#layers[layer] = { keys: await grown(keys), values: await grown(values) }
    }
    this.#places = size
  }

  /** Copies the first `tokens` places of lane 0 of `from` to a lane. */
  async copyFrom(from: KvCache, lane: number, tokens: number): Promise<void> {
    assert(lane < this.lanes && tokens <= from.places, "copyFrom: no such lane or places")
    await this.reserve(tokens)
    const { numKeyValueHeads: K, headDim: D, numHiddenLayers } = this.#shape
    const copy = (source: DeviceTensor, target: DeviceTensor) => {
      const [a, b] = [hostData(source), hostData(target)]
      for (let head = 0; head < K; head++) {
        const start = head * from.places * D
        b.set(a.subarray(start, start + tokens * D), (lane * K + head) * this.#places * D)
      }
    }
    for (let layer = 0; layer < numHiddenLayers; layer++) {
      copy(from.layer(layer).keys, this.layer(layer).keys)
      copy(from.layer(layer).values, this.layer(layer).values)
    }
  }

  dispose(): void {
    for (const { keys, values } of this.#layers) {
      keys.dispose()
      values.dispose()
    }
    this.#layers = []
    this.#places = 0
  }
}

function hostData(tensor: DeviceTensor): Float32Array {
  assert(tensor.data instanceof Float32Array, "a cache outside host memory")
  return tensor.data
}
