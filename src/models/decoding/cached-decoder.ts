import { assert } from "../../errors.ts"
import {
  CompiledGraphs,
  type DeviceTensor,
  disposeAll,
  type Feeds,
  float32,
} from "../../runtime/index.ts"
import { distributions, LANES, turnNames } from "../block/cached.ts"
import { layerKinds } from "../block/parameters.ts"
import { RopeRows } from "../families/rope.ts"
import {
  type CachedModel,
  type DecodingStages,
  FedStages,
  type PieceSizes,
} from "./decoding-stages.ts"
import { KvCache } from "./kv-cache.ts"
import { PackedModel } from "./packed-model.ts"

/** Ratio of computed rows, padding included, to prompt tokens: no more padding than this. */
const FILLING = 1.25

/** Next-token distributions of B sequences; views that the next call writes over. */
export interface NextTokens {
  /** [V] for each sequence. */
  readonly logits: readonly Float32Array[]
  /** softmax(logits / temperature), [V] for each sequence. */
  readonly probabilities: readonly Float32Array[]
  /** The largest logit. */
  readonly top: readonly number[]
  /** log sum exp(logits), float64. */
  readonly logSumExp: readonly number[]
}

/**
 * A decoder that continues sequences with a key-value cache. A sequence's numbers depend on its own
 * tokens and on how the weights are held, to the bit: not on the other lanes, on which lane it has,
 * or on the cache's size.
 */
export class CachedDecoder {
  readonly #stages: DecodingStages
  /** Packed weights belong to whoever packed them. */
  readonly #ownsStages: boolean
  readonly #compiled: CompiledGraphs
  readonly #buffers = new Map<string, Float32Array>()
  readonly #turns: readonly { names: { cos: string; sin: string }; rows: RopeRows }[]

  constructor(model: CachedModel | PackedModel) {
    this.#ownsStages = !(model instanceof PackedModel)
    this.#stages = model instanceof PackedModel ? model : new FedStages(model)
    this.#compiled = new CompiledGraphs(this.#stages.device)
    const { shape } = this.#stages
    this.#turns = layerKinds(shape).flatMap((kind) =>
      kind.rope ? [{ names: turnNames(shape, kind), rows: new RopeRows(kind.rope) }] : [],
    )
  }

  /** The longest sequence that the model was made for. */
  get contextLength(): number {
    return this.#stages.shape.maxPositionEmbeddings
  }

  /** How many tokens can follow a prompt: a cache's keys serve no sequence that turns otherwise. */
  room(promptTokens: number): number {
    const turning = this.#turns.map(({ rows }) => rows.last(promptTokens) + 1)
    return Math.min(this.contextLength, ...turning) - promptTokens
  }

  /** The number of lanes to decode `wanted` sequences with; at most LANES of them. */
  lanesFor(wanted: number): number {
    return this.#stages.lanesFor(Math.min(wanted, LANES))
  }

  newCache(lanes: number, places: number): Promise<KvCache> {
    return KvCache.open(this.#stages, { lanes, places }, (key, trace) =>
      this.#compiled.once(key, trace),
    )
  }

  /** How many of the first of these prompts, by their lengths, `prefillTogether` should take. */
  promptsTogether(lengths: readonly number[]): number {
    const { most, together } = this.#stages.pieces
    let [longest, sum, count] = [0, 0, 0]
    for (const length of lengths.slice(0, together ? LANES : 1)) {
      longest = Math.max(longest, length)
      sum += length
      const rows = longest * (count + 1)
      if (count > 0 && (rows > most || rows > FILLING * sum)) break
      count++
    }
    return count
  }

  /**
   * Whole prompts, as many as `promptsTogether` said, one into each lane of a cache; returns their
   * last tokens' final hidden states [B, C], for `next`.
   */
  prefillTogether(
    cache: KvCache,
    prompts: readonly Int32Array[],
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<DeviceTensor> {
    if (prompts.length === 1) return this.prefill(cache, prompts[0]!, options)
    return this.#sideBySide(cache, prompts, options.signal)
  }

  /**
   * Runs tokenIds[start ..] through the model into a cache of one lane that already holds
   * tokenIds[.. start]; returns the last token's final hidden state [1, C], for `next`.
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
    const sizes = this.#stages.pieces
    // Keys that were made for a shorter sequence may turn otherwise than this one's.
    const turnsOn = this.#turns.every(({ rows }) => rows.last(start) >= tokenIds.length)
    if (start > 0 && !turnsOn) return this.prefill(cache, tokenIds, { signal })
    if (start === 0 && sizes.together && tokenIds.length <= sizes.most) {
      return this.#sideBySide(cache, [tokenIds], signal)
    }
    const parts = pieces(tokenIds.length - start, sizes)
    await cache.reserve(parts.reduce((end, { size }) => end + size, start))
    let hidden: DeviceTensor | undefined
    for (const { from, count, size } of parts) {
      const at = start + from
      const rows = Array.from({ length: size }, (_, i) => at + i)
      const whole = rows.map(() => tokenIds.length)
      const ends = { lasts: [at + size - 1], total: at + size }
      const places = await this.#placeFeeds(ends, rows, whole)
      const ids = tokenIds.subarray(at, at + count)
      hidden?.dispose()
      hidden = await this.#stages.prompt({ cache, ids, places }, { size, counts: [count] }, signal)
      disposeAll(Object.values(places))
    }
    return hidden!
  }

  async #sideBySide(
    cache: KvCache,
    prompts: readonly Int32Array[],
    signal: AbortSignal | undefined,
  ): Promise<DeviceTensor> {
    const counts = prompts.map(({ length }) => length)
    assert(cache.lanes === prompts.length && !counts.includes(0), "prefill: tokens for each lane")
    const size = filledUp(Math.max(...counts), this.#stages.pieces)
    await cache.reserve(size)
    const ids = new Int32Array(prompts.length * size)
    for (const [lane, prompt] of prompts.entries()) ids.set(prompt, lane * size)
    const rows = Array.from(ids, (_, row) => row % size)
    const lasts = counts.map((count) => count - 1)
    const lengths = rows.map((_, row) => counts[Math.floor(row / size)]!)
    const places = await this.#placeFeeds({ lasts, total: size }, rows, lengths)
    const hidden = await this.#stages.prompt({ cache, ids, places }, { size, counts }, signal)
    disposeAll(Object.values(places))
    return hidden
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
    const total = Math.max(...places) + 1
    await cache.reserve(total)
    const lengths = places.map((place) => place + 1)
    const fed = await this.#placeFeeds({ lasts: places, total }, places, lengths)
    const hidden = await this.#stages.step({
      cache,
      ids: Int32Array.from(tokenIds),
      places: fed,
    })
    disposeAll(Object.values(fed))
    return hidden
  }

  /**
   * Distributions of the first temperatures.length rows; a temperature of 0 counts as 1 here. The
   * hidden states are let go of.
   */
  async next(hidden: DeviceTensor, temperatures: readonly number[]): Promise<NextTokens> {
    const { device, shape } = this.#stages
    const V = shape.vocabSize
    const lanes = this.#stages.lanesFor(temperatures.length)
    const buffer = async (name: string) =>
      device.sharesHostMemory ? { [name]: await this.#buffer(name, lanes) } : {}
    const logits = await this.#stages.logits(hidden, lanes, (await buffer("logits")).logits)

    const inverse = temperatures.map((t) => (t > 0 ? 1 / t : 1))
    const tempered = inverse.some((t) => t !== 1)
    const executable = await this.#compiled.once(`distributions ${tempered}`, () =>
      distributions(V, tempered),
    )
    const feeds: Record<string, DeviceTensor> = { logits }
    if (tempered) {
      const all = new Float32Array(lanes).fill(1)
      all.set(inverse)
      feeds.inverse_temperature = await device.upload(float32([lanes, 1], all))
    }
    const results = await executable.run(feeds, { into: await buffer("p") })
    feeds.inverse_temperature?.dispose()
    const numbers = async (tensor: DeviceTensor) => {
      const { data } = await device.download(tensor)
      if (!device.sharesHostMemory) tensor.dispose()
      return data as Float32Array
    }
    const rows = (x: Float32Array) =>
      temperatures.map((_, lane) => x.subarray(lane * V, (lane + 1) * V))
    const [top, peak] = [await numbers(results.top!), await numbers(results.peak!)]
    return {
      probabilities: rows(await numbers(results.p!)),
      logits: rows(await numbers(logits)),
      top: temperatures.map((_, lane) => top[lane]!),
      logSumExp: temperatures.map((_, lane) => top[lane]! - Math.log(peak[lane]!)),
    }
  }

  async release(): Promise<void> {
    if (this.#ownsStages) await this.#stages.release()
    await this.#compiled.release()
    this.#buffers.clear()
  }

  /**
   * Rotary rows for `places`, each in a sequence of lengths[i] tokens; where each lane's sequence
   * ends, and the longest one's length.
   */
  async #placeFeeds(
    { lasts, total }: { readonly lasts: readonly number[]; readonly total: number },
    places: readonly number[],
    lengths: readonly number[],
  ): Promise<Feeds> {
    const { device } = this.#stages
    const int32 = (values: readonly number[]) =>
      device.upload({ dtype: "i32", shape: [values.length], data: Int32Array.from(values) })
    const feeds: Record<string, DeviceTensor> = {
      last: await int32(lasts),
      total: await int32([total]),
    }
    // Rows that only fill up may lie past the context; their numbers are of no use to anybody.
    const known = places.map((place) => Math.min(place, this.contextLength - 1))
    for (const { names, rows } of this.#turns) {
      const { cos, sin } = rows.at(known, lengths)
      const dims = [places.length, cos.length / places.length]
      feeds[names.cos] = await device.upload(float32(dims, cos))
      feeds[names.sin] = await device.upload(float32(dims, sin))
    }
    return feeds
  }

  /** Room for [rows, V] numbers on the CPU, the same memory each time. */
  #buffer(name: string, rows: number): Promise<DeviceTensor> {
    const { device, shape } = this.#stages
    const size = rows * shape.vocabSize
    let memory = this.#buffers.get(name)
    if (!memory || memory.length < size) {
      memory = new Float32Array(size)
      this.#buffers.set(name, memory)
    }
    return device.upload(float32([rows, shape.vocabSize], memory.subarray(0, size)))
  }
}

interface Piece {
  readonly from: number
  readonly count: number
  /** `count` filled up to a compiled size. */
  readonly size: number
}

const filledUp = (rows: number, { step }: PieceSizes) => Math.ceil(rows / step) * step

/** The pieces of a prompt: a function of its length alone. */
function pieces(tokens: number, sizes: PieceSizes): Piece[] {
  const { most } = sizes
  const result: Piece[] = []
  for (let from = 0; from < tokens; from += most) {
    const count = Math.min(most, tokens - from)
    result.push({ from, count, size: filledUp(count, sizes) })
  }
  return result
}
