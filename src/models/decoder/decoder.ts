import { assert } from "../../errors.ts"
import type { KeepLevel } from "../../graph/index.ts"
import {
  type Device,
  type DeviceTensor,
  disposeAll,
  float32,
  type HostTensor,
} from "../../runtime/index.ts"
import { doraTensors } from "../adapters/dora.ts"
import { dropoutMasks } from "../adapters/dropout.ts"
import { type LayerPlan, type LoraInputs, layerPlans } from "../block/layer-plan.ts"
import { ROUTED, type WeightQuantization } from "../block/packed.ts"
import { EMBEDDING, FINAL_NORM, headName, layerPrefix } from "../block/parameters.ts"
import type { DecoderShape } from "../families/shape.ts"
import { CompiledBlocks } from "./compiled-blocks.ts"
import { EmbeddingStage, withNoise } from "./embedding-stage.ts"
import {
  type HeadSettings,
  HeadStage,
  type LossInputs,
  type LossInputsAfter,
  type Reference,
  type TokenOutputs,
} from "./head-stage.ts"
import { compiledSize, type Pack } from "./pack.ts"
import { PackFeeds, type PackTensors } from "./pack-feeds.ts"
import { ResultPlaces } from "./result-places.ts"
import { type Routed, RouterBalance, realTokens, routerFeeds, withLayer } from "./routers.ts"
import { RowOps } from "./rows.ts"
import { lowestTrained, trainedNames } from "./trained-names.ts"

export type { HeadSettings, LossInputs, LossInputsAfter, Reference, TokenOutputs }

export interface DecoderOptions {
  readonly device: Device
  readonly shape: DecoderShape
  /**
   * By the checkpoint's names, float32. Used as they are: training updates them in place. Those of
   * a frozen base may be on the device already; the decoder releases them.
   */
  readonly weights: ReadonlyMap<string, HostTensor | DeviceTensor>
  /**
   * With an adapter, its matrices are in `weights` too (PEFT's names below each layer); they are
   * trained, and what it has whole.
   */
  readonly lora?: LoraInputs | undefined
  /** Without an adapter: tensors that do not train, by the checkpoint's names. */
  readonly frozen?: ReadonlySet<string> | undefined
  /** The blocks' linear weights are quantised, under `quantizedNames` of `weights`. Needs `lora`. */
  readonly quantization?: WeightQuantization | undefined
  /** Number of supervised positions whose logits are in memory at one time. */
  readonly headRows?: number
  /** What layer l keeps for its backward. */
  readonly keep?: (layer: number) => KeepLevel
  /** NEFTune's alpha: how large the noise is that training adds to embeddings. */
  readonly noise?: number | undefined
  /** Weight of the routers' auxiliary loss, of a model with experts; 0, or left out: no such loss. */
  readonly routerAuxLossCoef?: number | undefined
}

type Tensors = Record<string, DeviceTensor>

/** What a forward pass leaves for the backward. */
interface Activations {
  readonly tokens: number
  readonly pack: PackTensors
  /**
   * Each layer's input, then the last one's output. Those that no backward needs have been written
   * over.
   */
  readonly states: readonly DeviceTensor[]
  readonly saved: readonly Tensors[]
  /** Which tokens are no filling, and what routers said of them, where they are asked. */
  readonly real: DeviceTensor | undefined
  readonly routed: Routed | undefined
  /** Seeds the dropout masks, which are made again for the backward. */
  readonly seed: number
}

/**
 * A decoder on a device: embedding, blocks, head with the loss. Blocks that are alike share their
 * compiled graphs. Gradients of sums accumulate in `gradients` until `zeroGradients`.
 */
export class Decoder {
  readonly shape: DecoderShape
  readonly device: Device
  /** Replace an entry when an update makes a new tensor; on the CPU they are updated in place. */
  readonly weights: Map<string, DeviceTensor>
  /** The trained tensors' gradients, by name. */
  readonly gradients: Map<string, DeviceTensor>
  readonly routerAuxLossCoef: number
  readonly #options: Pick<DecoderOptions, "lora" | "quantization">
  readonly #embedding: EmbeddingStage
  readonly #packFeeds: PackFeeds
  readonly #head: HeadStage
  readonly #keep: (layer: number) => KeepLevel
  readonly #noise: number
  readonly #plans: readonly LayerPlan[]
  readonly #blocks: CompiledBlocks
  readonly #places: ResultPlaces
  /** The backward pass ends with this layer: nothing below it trains. */
  readonly #lowest: number

  private constructor(
    options: DecoderOptions,
    weights: Map<string, DeviceTensor>,
    gradients: Map<string, DeviceTensor>,
  ) {
    const { shape, device, headRows = 256, keep = () => "products" } = options
    this.shape = shape
    this.device = device
    this.weights = weights
    this.gradients = gradients
    // Not the host's arrays: where the device holds a frozen base packed, they can go.
    this.#options = { lora: options.lora, quantization: options.quantization }
    this.#keep = keep
    this.#noise = options.noise ?? 0
    this.routerAuxLossCoef = options.routerAuxLossCoef ?? 0
    this.#places = new ResultPlaces(device)
    const rowOps = new RowOps(device)
    this.#embedding = new EmbeddingStage(shape, rowOps)
    this.#packFeeds = new PackFeeds(device, shape)
    this.#plans = layerPlans(shape, options.lora, options.frozen)
    this.#lowest = gradients.has(EMBEDDING) ? 0 : lowestTrained(shape, gradients)
    this.#blocks = new CompiledBlocks(device, {
      ...options,
      routers: this.routerAuxLossCoef > 0,
    })
    this.#head = new HeadStage(device, {
      shape,
      rowOps,
      parameters: { norm: FINAL_NORM, head: headName(shape), weights, gradients },
      chunk: headRows,
    })
  }

  /** `trained: false` makes a decoder without gradients: evaluation, a frozen reference. */
  static async open(options: DecoderOptions, { trained = true } = {}): Promise<Decoder> {
    const weights = new Map<string, DeviceTensor>()
    const { device } = options
    const changing = new Set(trained ? trainedNames(options) : [])
    const given = new Map([...options.weights, ...doraTensors(options)])
    for (const [name, host] of given) {
      if ("dispose" in host) {
        assert(!changing.has(name), `${name} is trained, so its host array is needed`)
        weights.set(name, host)
        continue
      }
      // What a full fine-tune leaves alone is written out again as it was read.
      const isBase = !trained || options.lora !== undefined
      const isFrozen = isBase && name.endsWith(".weight") && !changing.has(name)
      weights.set(name, await (isFrozen ? device.uploadFactor(host) : device.upload(host)))
    }
    const gradients = new Map<string, DeviceTensor>()
    for (const name of changing) {
      const { shape } = given.get(name)!
      gradients.set(name, await options.device.upload(float32(shape)))
    }
    return new Decoder(options, weights, gradients)
  }

  get lora(): LoraInputs | undefined {
    return this.#options.lora
  }
  get quantization(): WeightQuantization | undefined {
    return this.#options.quantization
  }

  /**
   * What an objective with a reference needs of this decoder, as it is now: the final hidden states
   * at the supervised positions, with or without the adapter.
   */
  async reference(pack: Pack, { adapter }: { readonly adapter: boolean }): Promise<Reference> {
    const activations = await this.#forward(pack, { keep: false, adapter, seed: 0 })
    const last = await this.device.download(activations.states.at(-1)!)
    const hidden = rowsAt(last.data as Float32Array, pack.positions, this.shape.hiddenSize)
    release(activations)
    return {
      shape: this.shape,
      hidden,
      norm: this.weights.get(FINAL_NORM)!,
      head: this.weights.get(headName(this.shape))!,
    }
  }

  /** The logits at the pack's positions, [rows, V] some at a time, from position `start` on. */
  async eachLogits(pack: Pack, body: (logits: Float32Array, start: number) => void): Promise<void> {
    const activations = await this.#forward(pack, { keep: false, adapter: true, seed: 0 })
    await this.#head.eachLogits(activations.states.at(-1)!, pack, body)
    release(activations)
  }

  /** The statistics of every supervised token; no gradients, no dropout. */
  async evaluate(
    pack: Pack,
    settings: HeadSettings,
    inputs: LossInputs = {},
    { adapter = true }: { readonly adapter?: boolean } = {},
  ): Promise<TokenOutputs> {
    const activations = await this.#forward(pack, { keep: false, adapter, seed: 0 })
    const outputs = await this.#head.evaluate(activations.states.at(-1)!, pack, settings, inputs)
    release(activations)
    return outputs
  }

  /**
   * Forward and backward of one micro-batch; gradients of the scaled sum are added to `gradients`.
   * `seed` decides the adapter's dropout. Inputs that are made of what the head says of the tokens
   * are asked for between the two. `balance`: of the step's routers, where they are asked.
   */
  async train(
    pack: Pack,
    settings: HeadSettings,
    inputs: LossInputs | LossInputsAfter = {},
    seed = 0,
    balance = new RouterBalance(0),
  ): Promise<TokenOutputs> {
    const activations = await this.#forward(pack, { keep: true, adapter: true, seed })
    const last = activations.states.at(-1)!
    const { outputs, dhidden } = await this.#head.train(last, pack, settings, inputs)
    await this.#backward(activations, dhidden, pack, balance)
    release(activations)
    return outputs
  }

  /** What the routers say of a micro-batch that `train` would compute with the same `seed`. */
  async routed(pack: Pack, seed: number): Promise<Routed> {
    const activations = await this.#forward(pack, { keep: true, adapter: true, seed })
    release(activations)
    return activations.routed!
  }

  /** Gives every tensor that trains other values, whole and by its name. */
  async replace(values: (name: string) => Float32Array | Promise<Float32Array>): Promise<void> {
    for (const [name, { shape }] of this.gradients) {
      const tensor = await this.device.upload(float32(shape, await values(name)))
      this.weights.get(name)!.dispose()
      this.weights.set(name, tensor)
    }
  }

  async zeroGradients(): Promise<void> {
    for (const [name, gradient] of this.gradients) {
      if (gradient.data) (gradient.data as Float32Array).fill(0)
      else {
        gradient.dispose()
        this.gradients.set(name, await this.device.upload(float32(gradient.shape)))
      }
    }
  }

  async release(): Promise<void> {
    await this.#blocks.release()
    await this.#head.release()
    for (const tensors of [this.weights, this.gradients]) {
      for (const tensor of tensors.values()) tensor.dispose()
      tensors.clear()
    }
    this.#places.clear()
  }

  /** A layer's tensors by their names inside a block. */
  #layer(source: ReadonlyMap<string, DeviceTensor>, layer: number, prefix = ""): Tensors {
    const start = layerPrefix(layer)
    const found: Tensors = {}
    for (const [name, tensor] of source) {
      if (name.startsWith(start)) found[prefix + name.slice(start.length)] = tensor
    }
    return found
  }

  async #forward(
    pack: Pack,
    { keep, adapter, seed }: { keep: boolean; adapter: boolean; seed: number },
  ): Promise<Activations> {
    assert(pack.tokenIds.length > 0, "an empty pack")
    const tokens = compiledSize(pack.tokenIds.length)
    await this.#blocks.use(tokens)
    const tensors = await this.#packFeeds.tensors(pack, tokens)
    const table = this.weights.get(EMBEDDING)!
    const embedded = await this.#embedding.forward(table, pack.tokenIds, tokens)
    const noise = { alpha: keep ? this.#noise : 0, seed }
    const states = [await withNoise(this.device, embedded, pack, noise)]
    const saved: Tensors[] = []
    const used = pack.tokenIds.length
    const asks = keep && this.routerAuxLossCoef > 0
    const real = asks ? await realTokens(this.device, used, tokens) : undefined
    let routed: Routed | undefined
    for (const [layer, plan] of this.#plans.entries()) {
      const feeds = {
        x: states[states.length - 1]!,
        ...tensors.of(plan.kind),
        ...this.#layer(this.weights, layer),
      }
      if (!keep) {
        const { y } = await (await this.#blocks.forward(tokens, plan, adapter)).run(feeds)
        disposeAll(states.splice(0, 1, y!))
        continue
      }
      const executables = await this.#blocks.training(tokens, plan, this.#keep(layer))
      const dropout = await this.#dropout(seed, layer, tokens)
      const place = await this.#statePlace(tokens, layer + 1)
      const into = await this.#places.all(executables.forward, `layer ${layer}`, place)
      const asked = executables.routes && { [ROUTED.real]: real! }
      const results = await executables.forward.run({ ...feeds, ...dropout, ...asked }, { into })
      disposeAll(Object.values(dropout))
      states.push(results.y!)
      if (executables.routes) routed = await withLayer(this.device, routed, results, used)
      saved.push(Object.fromEntries(executables.saved.map((name) => [name, results[name]!])))
    }
    return { tokens, pack: tensors, states, saved, real, routed, seed }
  }

  /**
   * Where the input of a layer, or the last one's output, is written: two places in turn for those
   * that no backward needs again.
   */
  async #statePlace(tokens: number, layer: number): Promise<Tensors> {
    const plan = this.#plans[layer]
    const block = plan && (await this.#blocks.training(tokens, plan, this.#keep(layer)))
    const owner = block?.needsInput ? `layer ${layer}` : `turn ${layer % 2}`
    return this.#places.one("y", `${owner} x`, [tokens, this.shape.hiddenSize])
  }

  async #backward(
    { tokens, pack, states, saved, real, routed, seed }: Activations,
    dhidden: DeviceTensor,
    { tokenIds }: Pack,
    balance: RouterBalance,
  ) {
    let dy = dhidden
    const asked: Tensors = routed
      ? await routerFeeds(this.device, real!, balance.gradient(routed))
      : {}
    for (let layer = this.shape.numHiddenLayers - 1; layer >= this.#lowest; layer--) {
      const plan = this.#plans[layer]!
      const { backward, routes } = await this.#blocks.training(tokens, plan, this.#keep(layer))
      const gradients = this.#layer(this.gradients, layer, "acc.")
      const accumulated = Object.entries(gradients).map(
        ([name, tensor]) => [name.replace("acc.", "grad."), tensor] as const,
      )
      // Two places in turn: what a layer reads is not where it writes.
      const into = await this.#places.all(
        backward,
        `backward ${layer % 2}`,
        Object.fromEntries(accumulated),
      )
      const dropout = await this.#dropout(seed, layer, tokens)
      const results = await backward.run(
        {
          x: states[layer]!,
          dy,
          ...pack.of(plan.kind),
          ...this.#layer(this.weights, layer),
          ...gradients,
          ...saved[layer],
          ...dropout,
          ...(routes && asked),
        },
        { into },
      )
      for (const name of Object.keys(gradients)) {
        const key = name.replace("acc.", "")
        this.gradients.set(layerPrefix(layer) + key, results[`grad.${key}`]!)
      }
      disposeAll([dy], Object.values(dropout))
      dy = results.dx!
    }
    asked[ROUTED.gradient]?.dispose()
    const embedding = this.gradients.get(EMBEDDING)
    if (embedding) {
      this.gradients.set(EMBEDDING, await this.#embedding.backward(embedding, tokenIds, dy))
    }
    dy.dispose()
  }

  async #dropout(seed: number, layer: number, tokens: number): Promise<Tensors> {
    const masks = dropoutMasks(this.shape, this.#plans[layer]!, { seed, layer, tokens })
    const fed: Tensors = {}
    for (const [name, mask] of masks) fed[name] = await this.device.upload(mask)
    return fed
  }
}

/** What a pass held; on the CPU the places stay for the next one. */
function release({ states, saved, pack, real }: Activations): void {
  pack.dispose()
  real?.dispose()
  disposeAll(states, ...saved.map((tensors) => Object.values(tensors)))
}

/** Rows `positions` of a row-major matrix with `columns` columns. */
function rowsAt(matrix: Float32Array, positions: Int32Array, columns: number): Float32Array {
  const result = new Float32Array(positions.length * columns)
  positions.forEach((row, i) => {
    result.set(matrix.subarray(row * columns, (row + 1) * columns), i * columns)
  })
  return result
}
