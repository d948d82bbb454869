import { assert } from "../run/errors.ts"
import {
  type Device,
  type DeviceTensor,
  type Executable,
  type Feeds,
  float32,
  int64,
} from "../runtime/index.ts"
import {
  type CachedOptions,
  cacheNames,
  type DecodeMode,
  decodeBlocks,
  LANES,
  lanesHead,
  prefillBlock,
} from "./cached-block.ts"
import { EMBEDDING, FINAL_NORM, HEAD } from "./decoder.ts"
import { KvCache } from "./kv-cache.ts"
import { layerPrefix } from "./parameters.ts"
import { type RopeTables, ropeTables } from "./rope.ts"
import { RowOps } from "./rows.ts"

/** A prompt goes through in pieces of at most `most` tokens, filled up to a multiple of `step`. */
interface PieceSizes {
  readonly most: number
  readonly step: number
}
/** Few graphs, little filling. */
const PIECES: PieceSizes = { most: 512, step: 32 }
/**
 * With more queries at once ONNX Runtime 1.30's attention on WebGPU takes another way, which gives
 * wrong rows without a word where subgroups have four lanes (SwiftShader).
 */
const PIECES_ON_WEBGPU: PieceSizes = { most: 8, step: 8 }

/** What decoding needs of a model; a `Decoder` is one, its weights are read at each step. */
export interface CachedModel extends CachedOptions {
  readonly device: Device
  /** By the checkpoint's names; an adapter's matrices by PEFT's names below each layer. */
  readonly weights: ReadonlyMap<string, DeviceTensor>
}

/** Next-token distributions of B sequences; views that the next call writes over. */
export interface NextTokens {
  /** [V] for each sequence. */
  readonly logits: readonly Float32Array[]
  /** softmax(logits / temperature), [V] for each sequence. */
  readonly probabilities: readonly Float32Array[]
  /** log sum exp(logits), float64. */
  readonly logSumExp: readonly number[]
}

/**
 * A decoder that continues sequences with a key-value cache. A sequence's numbers depend on its own
 * tokens and the mode only, to the bit: not on the other lanes, on which lane it has, or on the
 * cache's size.
 */
export class CachedDecoder {
  readonly model: CachedModel
  readonly mode: DecodeMode
  readonly #rows: RowOps
  readonly #compiled = new Map<string, Promise<Executable>>()
  readonly #buffers = new Map<string, DeviceTensor>()
  #rope: RopeTables

  constructor(model: CachedModel, mode: DecodeMode = "side-by-side") {
    this.model = model
    this.mode = mode
    this.#rows = new RowOps(model.device)
    this.#rope = { cos: new Float32Array(0), sin: new Float32Array(0) }
  }

  /** The longest sequence that the model was made for. */
  get contextLength(): number {
    return this.model.shape.maxPositionEmbeddings
  }

  /** Sequences that `decode` takes at once. */
  get lanes(): number {
    return this.mode === "alone" ? 1 : LANES
  }

  newCache(lanes: number, places: number): Promise<KvCache> {
    return KvCache.open(this.model, { lanes, places }, (key, trace) => this.#once(key, trace))
  }

  /**
   * Runs tokenIds[start ..] through the model into a cache of one lane that already holds
   * tokenIds[.. start]; returns the last token's final hidden state as row 0 of what `next` takes.
   */
  async prefill(
    cache: KvCache,
    tokenIds: Int32Array,
    {
      start = 0,
      signal,
    }: { readonly start?: number; readonly signal?: AbortSignal | undefined } = {},
  ): Promise<DeviceTensor> {
    assert(cache.lanes === 1 && tokenIds.length > start, "prefill: one lane and some tokens")
    const { device, weights, shape } = this.model
    const sizes = device.kind === "webgpu" ? PIECES_ON_WEBGPU : PIECES
    const parts = pieces(tokenIds.length - start, sizes)
    await cache.reserve(parts.reduce((end, { size }) => end + size, start))
    const C = shape.hiddenSize
    const lastRow = new Float32Array(this.lanes * C)
    for (const { from, count, size } of parts) {
      const at = start + from
      const ids = tokenIds.subarray(at, at + count)
      let x = await this.#rows.gather(weights.get(EMBEDDING)!, ids, size)
      const executable = await this.#once(`prefill ${size}`, () => prefillBlock(this.model, size))
      const places = Array.from({ length: size }, (_, i) => at + i)
      const shared = await this.#placeFeeds([at + size - 1], places)
      const names = cacheNames(0)
      for (let layer = 0; layer < shape.numHiddenLayers; layer++) {
        signal?.throwIfAborted()
        const { keys, values } = cache.layer(layer)
        const results = await executable.run(
          { x, ...shared, [names.keys]: keys, [names.values]: values, ...this.#layer(layer) },
          { into: { [names.keysAfter]: keys, [names.valuesAfter]: values } },
        )
        cache.replace(layer, results[names.keysAfter]!, results[names.valuesAfter]!)
        x.dispose()
        x = results.y!
      }
      const y = (await device.download(x)).data as Float32Array
      disposeAll([x, ...Object.values(shared)])
      lastRow.set(y.subarray((count - 1) * C, count * C))
    }
    return device.upload(float32([this.lanes, C], lastRow))
  }

  /**
   * One more token of each lane: tokenIds[b] at place places[b] of lane b. Returns the final hidden
   * states, for `next`.
   */
  async decode(
    cache: KvCache,
    tokenIds: readonly number[],
    places: readonly number[],
  ): Promise<DeviceTensor> {
    const { lanes } = cache
    assert(tokenIds.length === lanes && places.length === lanes, "decode: a token for each lane")
    const { device, weights, shape } = this.model
    await cache.reserve(Math.max(...places) + 1)
    const executable = await this.#once(`decode ${lanes}`, () =>
      decodeBlocks(this.model, lanes, this.mode),
    )
    const shared = await this.#placeFeeds(places, places)
    const feeds: Record<string, DeviceTensor> = {
      ids: await device.upload(int64([lanes], tokenIds)),
      ...shared,
    }
    for (const [name, tensor] of weights) feeds[name] = tensor
    const into: Record<string, DeviceTensor> = {}
    for (let layer = 0; layer < shape.numHiddenLayers; layer++) {
      const { keys, values } = cache.layer(layer)
      const names = cacheNames(layer)
      Object.assign(feeds, { [names.keys]: keys, [names.values]: values })
      Object.assign(into, { [names.keysAfter]: keys, [names.valuesAfter]: values })
    }
    const results = await executable.run(feeds, { into })
    for (let layer = 0; layer < shape.numHiddenLayers; layer++) {
      const names = cacheNames(layer)
      cache.replace(layer, results[names.keysAfter]!, results[names.valuesAfter]!)
    }
    disposeAll([feeds.ids!, ...Object.values(shared)])
    return results.hidden!
  }

  /**
   * Distributions of the first temperatures.length rows; a temperature of 0 counts as 1 here. The
   * hidden states are let go of.
   */
  async next(hidden: DeviceTensor, temperatures: readonly number[]): Promise<NextTokens> {
    const { device, weights, shape } = this.model
    const V = shape.vocabSize
    const lanes = laneBucket(temperatures.length)
    const inverse = temperatures.map((t) => (t > 0 ? 1 / t : 1))
    const tempered = inverse.some((t) => t !== 1)
    const executable = await this.#once(`head ${lanes} ${tempered}`, () =>
      lanesHead({ shape, batch: lanes, mode: this.mode, tempered }),
    )
    const feeds: Record<string, DeviceTensor> = {
      hidden,
      "norm.weight": weights.get(FINAL_NORM)!,
      "head.weight": weights.get(shape.tieWordEmbeddings ? EMBEDDING : HEAD)!,
    }
    if (tempered) {
      const all = new Float32Array(lanes).fill(1)
      all.set(inverse)
      feeds.inverse_temperature = await device.upload(float32([lanes, 1], all))
    }
    const into: Feeds =
      device.kind === "cpu"
        ? {
            logits: await this.#buffer("logits", [lanes, V]),
            p: await this.#buffer("p", [lanes, V]),
          }
        : {}
    const results = await executable.run(feeds, { into })
    hidden.dispose()
    feeds.inverse_temperature?.dispose()
    const numbers = async (name: string) => {
      const { data } = await device.download(results[name]!)
      if (device.kind !== "cpu") results[name]!.dispose()
      return data as Float32Array
    }
    const [logits, p] = [await numbers("logits"), await numbers("p")]
    const [top, peak] = [await numbers("top"), await numbers("peak")]
    const row = (x: Float32Array, i: number) => x.subarray(i * V, (i + 1) * V)
    return {
      logits: temperatures.map((_, i) => row(logits, i)),
      probabilities: temperatures.map((_, i) => row(p, i)),
      logSumExp: temperatures.map((_, i) => top[i]! - Math.log(peak[i]!)),
    }
  }

  async release(): Promise<void> {
    for (const made of this.#compiled.values()) await (await made).release()
    for (const tensor of this.#buffers.values()) tensor.dispose()
    this.#compiled.clear()
    this.#buffers.clear()
  }

  /** Rotary rows for `places`, and where each lane's sequence ends. */
  async #placeFeeds(lasts: readonly number[], places: readonly number[]): Promise<Feeds> {
    const { device, shape } = this.model
    const half = shape.headDim / 2
    // Filling may lie past the context; a longer table would change how `dynamic` stretches.
    const known = places.map((place) => Math.min(place, this.contextLength - 1))
    const needed = Math.max(...known) + 1
    if (this.#rope.cos.length < needed * half) {
      this.#rope = ropeTables(shape, Math.min(this.contextLength, Math.max(256, 2 * needed)))
    }
    const rows = (table: Float32Array) => {
      const result = new Float32Array(places.length * half)
      known.forEach((place, i) => {
        result.set(table.subarray(place * half, (place + 1) * half), i * half)
      })
      return device.upload(float32([places.length, half], result))
    }
    const int32 = (values: readonly number[]) =>
      device.upload({ dtype: "i32", shape: [values.length], data: Int32Array.from(values) })
    return {
      last: await int32(lasts),
      total: await int32([Math.max(...lasts) + 1]),
      cos: await rows(this.#rope.cos),
      sin: await rows(this.#rope.sin),
    }
  }

  /** A layer's weights by their names inside a block. */
  #layer(layer: number): Record<string, DeviceTensor> {
    const prefix = layerPrefix(layer)
    const found: Record<string, DeviceTensor> = {}
    for (const [name, tensor] of this.model.weights) {
      if (name.startsWith(prefix)) found[name.slice(prefix.length)] = tensor
    }
    return found
  }

  async #buffer(name: string, shape: readonly number[]): Promise<DeviceTensor> {
    const key = `${name} ${shape}`
    const known = this.#buffers.get(key) ?? (await this.model.device.upload(float32(shape)))
    this.#buffers.set(key, known)
    return known
  }

  #once(key: string, trace: () => Parameters<Device["compile"]>[0]): Promise<Executable> {
    const known = this.#compiled.get(key)
    if (known) return known
    const made = this.model.device.compile(trace())
    this.#compiled.set(key, made)
    return made
  }
}

function disposeAll(tensors: readonly DeviceTensor[]): void {
  for (const tensor of tensors) tensor.dispose()
}

/** The compiled number of lanes for `wanted` sequences. */
export function laneBucket(wanted: number): number {
  assert(wanted >= 1 && wanted <= LANES, `${wanted} lanes`)
  return wanted === 1 ? 1 : wanted <= 4 ? 4 : LANES
}

interface Piece {
  readonly from: number
  readonly count: number
  /** `count` filled up to a compiled size. */
  readonly size: number
}

/** The pieces of a prompt: a function of its length alone. */
function pieces(tokens: number, { most, step }: PieceSizes): Piece[] {
  const result: Piece[] = []
  for (let from = 0; from < tokens; from += most) {
    const count = Math.min(most, tokens - from)
    result.push({ from, count, size: Math.ceil(count / step) * step })
  }
  return result
}
