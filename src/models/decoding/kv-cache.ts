import { assert } from "../../errors.ts"
import { concat, type Graph, graph, input, type Tensor } from "../../graph/index.ts"
import {
  type Device,
  type DeviceTensor,
  type Executable,
  float32,
  int64,
} from "../../runtime/index.ts"
import { cachedHeadDim } from "../block/cached.ts"
import type { DecoderShape } from "../families/shape.ts"

interface LayerCache {
  readonly keys: DeviceTensor
  readonly values: DeviceTensor
}

/** A graph compiled once for each key. */
export type Compiled = (key: string, trace: () => Graph) => Promise<Executable>

/** Places are added by doubling from this. */
const LEAST_PLACES = 64

/**
 * Keys and values of B sequences, per layer [B, K, P, D] each, D as `cachedHeadDim` has it. P
 * grows; contents are kept.
 */
export class KvCache {
  #lanes: number
  readonly #device: Device
  readonly #shape: DecoderShape
  #places: number
  #layers: LayerCache[]
  readonly #compiled: Compiled

  private constructor(device: Device, shape: DecoderShape, lanes: number, compiled: Compiled) {
    this.#compiled = compiled
    this.#device = device
    this.#shape = shape
    this.#lanes = lanes
    this.#places = 0
    this.#layers = []
  }

  static async open(
    { device, shape }: { readonly device: Device; readonly shape: DecoderShape },
    { lanes, places }: { readonly lanes: number; readonly places: number },
    compiled: Compiled,
  ): Promise<KvCache> {
    const cache = new KvCache(device, shape, lanes, compiled)
    await cache.reserve(places)
    return cache
  }

  /** B: sequences that there is room for. */
  get lanes(): number {
    return this.#lanes
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
    const { numKeyValueHeads: K, numHiddenLayers } = this.#shape
    const D = cachedHeadDim(this.#shape)
    const old = this.#places
    const zeros = async (places: number) =>
      this.#device.upload(
        float32([this.lanes, K, places, D], new Float32Array(this.lanes * K * places * D)),
      )
    const grown = async (from: DeviceTensor | undefined) => {
      if (!from) return zeros(size)
      if (from.data) {
        const result = await zeros(size)
        for (let row = 0; row < this.lanes * K; row++) {
          const kept = hostData(from).subarray(row * old * D, (row + 1) * old * D)
          hostData(result).set(kept, row * size * D)
        }
        return result
      }
      return this.#onDevice("grow", { from, more: await zeros(size - old) }, () => {
        const dims = (places: string) => [this.lanes, K, places, D]
        return concat([input("from", dims("places")), input("more", dims("more"))], 2)
      })
    }
    for (let layer = 0; layer < numHiddenLayers; layer++) {
      const { keys, values } = this.#layers[layer] ?? {}
      this.#layers[layer] = { keys: await grown(keys), values: await grown(values) }
    }
    this.#places = size
  }

  /** Copies the first `tokens` places of a lane of `from` to a lane. */
  async copyFrom(
    from: KvCache,
    lane: number,
    { lane: source, tokens }: { readonly lane: number; readonly tokens: number },
  ): Promise<void> {
    assert(lane < this.lanes && source < from.lanes, "copyFrom: no such lane")
    assert(tokens <= from.places, "copyFrom: no such places")
    await this.reserve(tokens)
    const { numKeyValueHeads: K, numHiddenLayers } = this.#shape
    const D = cachedHeadDim(this.#shape)
    const copied = async (one: DeviceTensor, all: DeviceTensor) => {
      if (one.data) {
        for (let head = 0; head < K; head++) {
          const start = (source * K + head) * from.places * D
          const rows = hostData(one).subarray(start, start + tokens * D)
          hostData(all).set(rows, (lane * K + head) * this.#places * D)
        }
        return all
      }
      return this.#onDevice(`copy ${source} of ${from.lanes} to ${lane}`, { all, one }, () => {
        const before = input("all", [this.lanes, K, "places", D])
        const lanes = input("one", [from.lanes, K, "places", D])
        const parts: Tensor[] = [from.lanes === 1 ? lanes : lanes.slice(0, source, source + 1)]
        if (lane > 0) parts.unshift(before.slice(0, 0, lane))
        if (lane + 1 < this.lanes) parts.push(before.slice(0, lane + 1, this.lanes))
        return concat(parts, 0)
      })
    }
    // A device copies whole lanes.
    if (!this.layer(0).keys.data) {
      await this.reserve(from.places)
      await from.reserve(this.places)
    }
    for (let layer = 0; layer < numHiddenLayers; layer++) {
      const [one, all] = [from.layer(layer), this.layer(layer)]
      this.#layers[layer] = {
        keys: await copied(one.keys, all.keys),
        values: await copied(one.values, all.values),
      }
    }
  }

  /** Gives lanes up: lane i then holds what lane kept[i] held; the indices rise. */
  async keepLanes(kept: readonly number[]): Promise<void> {
    const { numKeyValueHeads: K } = this.#shape
    const D = cachedHeadDim(this.#shape)
    const size = K * this.#places * D
    const dims = [kept.length, K, this.#places, D]
    const fewer = async (all: DeviceTensor) => {
      if (all.data) {
        const data = hostData(all)
        kept.forEach((lane, i) => {
          if (lane !== i) data.copyWithin(i * size, lane * size, (lane + 1) * size)
        })
        return this.#device.upload(float32(dims, data.subarray(0, kept.length * size)))
      }
      const ids = await this.#device.upload(int64([kept.length], kept))
      const result = await this.#onDevice(`keep ${kept.length}`, { all, ids }, () => {
        const before = input("all", [this.lanes, K, "places", D])
        return before.gather(input("ids", [kept.length], "i64"))
      })
      ids.dispose()
      return result
    }
    const layers: LayerCache[] = []
    for (const { keys, values } of this.#layers) {
      layers.push({ keys: await fewer(keys), values: await fewer(values) })
    }
    this.#layers = layers
    this.#lanes = kept.length
  }

  /** Runs a small graph on the device, then disposes of the tensors that its result replaces. */
  async #onDevice(
    key: string,
    feeds: Readonly<Record<string, DeviceTensor>>,
    result: () => Tensor,
  ): Promise<DeviceTensor> {
    const trace = () => graph("cache", { y: result() })
    const executable = await this.#compiled(`cache ${this.lanes} ${key}`, trace)
    const { y } = await executable.run(feeds)
    feeds.from?.dispose()
    feeds.more?.dispose()
    feeds.all?.dispose()
    return y!
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
