import { assert } from "../../errors.ts"
import {
  CompiledGraphs,
  type Device,
  type DeviceTensor,
  disposeAll,
  type Feeds,
  float32,
  int64,
} from "../../runtime/index.ts"
import {
  type CachedOptions,
  cacheNames,
  decodeBlocks,
  HEAD_WEIGHT,
  LANES,
  laneLogits,
  NORM_WEIGHT,
  packedLogits,
  prefillBlock,
} from "../block/cached.ts"
import { layerPlans } from "../block/layer-plan.ts"
import { EMBEDDING, FINAL_NORM, headName, layerPrefix } from "../block/parameters.ts"
import { EmbeddingStage } from "../decoder/embedding-stage.ts"
import { RowOps } from "../decoder/rows.ts"
import type { DecoderShape } from "../families/shape.ts"
import type { KvCache } from "./kv-cache.ts"

/** A prompt goes through in pieces of at most `most` tokens, filled up to a multiple of `step`. */
export interface PieceSizes {
  readonly most: number
  readonly step: number
  /** Whole prompts may go through side by side, as long as all their rows are at most `most`. */
  readonly together: boolean
}

/** Rows of prompts side by side: `size` of each, of which the first counts[b] are tokens. */
export interface PromptRows {
  readonly size: number
  readonly counts: readonly number[]
}

/** New tokens of sequences whose earlier ones are in a cache. */
export interface NewTokens {
  readonly cache: KvCache
  readonly ids: Int32Array
  /** Where they are: `last`, `total`, `cos` and `sin` of the blocks' graphs. */
  readonly places: Feeds
}

/** The passes that decoding is made of, however the weights are held. */
export interface DecodingStages {
  readonly device: Device
  readonly shape: DecoderShape
  readonly pieces: PieceSizes
  /** The number of lanes to use for `wanted` sequences. */
  lanesFor(wanted: number): number
  /**
   * Consecutive tokens of each lane's sequence, ids and places filled up: the hidden states [B, C]
   * of each one's last token. The cache takes them.
   */
  prompt(tokens: NewTokens, rows: PromptRows, signal?: AbortSignal): Promise<DeviceTensor>
  /** One token of each lane: hidden states [B or more, C]. The cache takes them. */
  step(tokens: NewTokens): Promise<DeviceTensor>
  /**
   * Hidden states [B or more, C], which are let go of, to logits [B, V], into a tensor if given.
   */
  logits(hidden: DeviceTensor, lanes: number, into?: DeviceTensor): Promise<DeviceTensor>
  release(): Promise<void>
}

/** A model that is given its weights at each run. A `Decoder` in training is one. */
export interface CachedModel extends CachedOptions {
  readonly device: Device
  /** By the checkpoint's names; an adapter's matrices by PEFT's names below each layer. */
  readonly weights: ReadonlyMap<string, DeviceTensor>
}

/** Few graphs, little filling. */
const PIECES: PieceSizes = { most: 512, step: 32, together: false }
/** The cache's tensors of some layers as inputs, and the places that its new contents go to. */
export function cacheFeeds(cache: KvCache, layers: readonly number[]) {
  const feeds: Record<string, DeviceTensor> = {}
  const into: Record<string, DeviceTensor> = {}
  for (const layer of layers) {
    const { keys, values } = cache.layer(layer)
    const names = cacheNames(layer)
    Object.assign(feeds, { [names.keys]: keys, [names.values]: values })
    Object.assign(into, { [names.keysAfter]: keys, [names.valuesAfter]: values })
  }
  return { feeds, into }
}

export function takeCache(cache: KvCache, layers: readonly number[], results: Feeds): void {
  for (const layer of layers) {
    const names = cacheNames(layer)
    cache.replace(layer, results[names.keysAfter]!, results[names.valuesAfter]!)
  }
}

/** Stages whose graphs are given the weights at each run. */
export class FedStages implements DecodingStages {
  readonly #model: CachedModel
  readonly #embedding: EmbeddingStage
  readonly #compiled: CompiledGraphs
  readonly #layers: readonly number[]

  constructor(model: CachedModel) {
    this.#model = model
    this.#embedding = new EmbeddingStage(model.shape, new RowOps(model.device))
    this.#compiled = new CompiledGraphs(model.device)
    this.#layers = Array.from({ length: model.shape.numHiddenLayers }, (_, layer) => layer)
  }

  get device(): Device {
    return this.#model.device
  }
  get shape(): DecoderShape {
    return this.#model.shape
  }
  /** Products of bfloat16 factors give a row the same bits beside any others. */
  get #byRows(): boolean {
    return this.device.products === "bf16"
  }
  get pieces(): PieceSizes {
    const { cachedQueries } = this.device.limits
    const [most, step] = [PIECES.most, PIECES.step].map((size) => Math.min(size, cachedQueries))
    return { ...PIECES, most: most!, step: step! }
  }

  /** Each number of lanes is a graph of its own. */
  lanesFor(wanted: number): number {
    assert(wanted >= 1 && wanted <= LANES, `${wanted} lanes`)
    return wanted === 1 ? 1 : wanted <= 4 ? 4 : LANES
  }

  async prompt(
    { cache, ids, places }: NewTokens,
    { size, counts }: PromptRows,
    signal?: AbortSignal,
  ) {
    assert(counts.length === 1, "prompts go one by one")
    const { weights } = this.#model
    let x = await this.#embedding.forward(weights.get(EMBEDDING)!, ids, size)
    const names = cacheNames(0) // layers that are alike share a graph
    for (const [layer, plan] of layerPlans(this.shape, this.#model.lora).entries()) {
      signal?.throwIfAborted()
      const executable = await this.#compiled.once(`prompt ${size} ${plan.key}`, () =>
        prefillBlock(this.#model, plan, size),
      )
      const { keys, values } = cache.layer(layer)
      const results = await executable.run(
        { x, ...places, [names.keys]: keys, [names.values]: values, ...this.#layer(layer) },
        { into: { [names.keysAfter]: keys, [names.valuesAfter]: values } },
      )
      cache.replace(layer, results[names.keysAfter]!, results[names.valuesAfter]!)
      x.dispose()
      x = results.y!
    }
    const C = this.shape.hiddenSize
    const { data } = await this.device.download(x)
    x.dispose()
    const last = (data as Float32Array).slice((counts[0]! - 1) * C, counts[0]! * C)
    return this.device.upload(float32([1, C], last))
  }

  async step({ cache, ids, places }: NewTokens): Promise<DeviceTensor> {
    const { lanes } = cache
    const executable = await this.#compiled.once(`step ${lanes}`, () =>
      decodeBlocks(this.#model, lanes, { byRows: this.#byRows }),
    )
    const { feeds, into } = cacheFeeds(cache, this.#layers)
    const fed = await this.device.upload(int64([lanes], ids))
    const weights = Object.fromEntries(this.#model.weights)
    const results = await executable.run({ ids: fed, ...places, ...weights, ...feeds }, { into })
    fed.dispose()
    takeCache(cache, this.#layers, results)
    return results.hidden!
  }

  async logits(hidden: DeviceTensor, lanes: number, into?: DeviceTensor): Promise<DeviceTensor> {
    const { weights, shape } = this.#model
    const executable = this.#byRows
      ? await this.#compiled.once("head", () => packedLogits(shape))
      : await this.#compiled.once(`head ${lanes}`, () => laneLogits(shape, lanes))
    const rows = this.#byRows ? hidden : await this.#filled(hidden)
    const feeds = {
      hidden: rows,
      [NORM_WEIGHT]: weights.get(FINAL_NORM)!,
      [HEAD_WEIGHT]: weights.get(headName(shape))!,
    }
    const { logits } = await executable.run(feeds, into ? { into: { logits: into } } : {})
    disposeAll([rows])
    return logits!
  }

  async release(): Promise<void> {
    await this.#compiled.release()
  }

  /** LANES rows, of which the first are those given. */
  async #filled(hidden: DeviceTensor): Promise<DeviceTensor> {
    if (hidden.shape[0] === LANES) return hidden
    const { data, shape } = await this.device.download(hidden)
    hidden.dispose()
    const rows = new Float32Array(LANES * shape[1]!)
    rows.set(data as Float32Array)
    return this.device.upload(float32([LANES, shape[1]!], rows))
  }

  /** A layer's weights by their names inside a block. */
  #layer(layer: number): Record<string, DeviceTensor> {
    const prefix = layerPrefix(layer)
    const found: Record<string, DeviceTensor> = {}
    for (const [name, tensor] of this.#model.weights) {
      if (name.startsWith(prefix)) found[name.slice(prefix.length)] = tensor
    }
    return found
  }
}
