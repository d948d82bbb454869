import { type Device, type DeviceTensor, disposeAll } from "../../runtime/index.ts"
import { type LayerPlan, type LoraInputs, layerPlans } from "../block/layer-plan.ts"
import type { WeightQuantization } from "../block/packed.ts"
import { EMBEDDING, FINAL_NORM, headName } from "../block/parameters.ts"
import type { DecoderShape } from "../families/shape.ts"
import { CompiledBlocks } from "./compiled-blocks.ts"
import { EmbeddingStage } from "./embedding-stage.ts"
import { type HeadSettings, HeadStage, type LossInputs, type TokenOutputs } from "./head-stage.ts"
import { compiledSize, type Pack } from "./pack.ts"
import { PackFeeds } from "./pack-feeds.ts"
import { RowOps } from "./rows.ts"

export interface LayeredDecoderOptions {
  readonly device: Device
  readonly shape: DecoderShape
  readonly lora: LoraInputs | undefined
  readonly quantization: WeightQuantization | undefined
  /** Number of supervised positions whose logits are in memory at one time. */
  readonly headRows: number
  /** Embedding, final norm and head, by the checkpoint's names. */
  readonly outer: ReadonlyMap<string, DeviceTensor>
  /** A layer's tensors by their names inside a block; they may lie where the last layer's did. */
  readonly layer: (layer: number) => Promise<Readonly<Record<string, DeviceTensor>>>
}

/**
 * A decoder that only evaluates, and asks for a layer's weights each time that it computes the
 * layer: of the blocks' weights one layer's are in memory at a time.
 */
export class LayeredDecoder {
  readonly shape: DecoderShape
  readonly #outer: ReadonlyMap<string, DeviceTensor>
  readonly #layer: LayeredDecoderOptions["layer"]
  readonly #plans: readonly LayerPlan[]
  readonly #blocks: CompiledBlocks
  readonly #embedding: EmbeddingStage
  readonly #packFeeds: PackFeeds
  readonly #head: HeadStage

  constructor({ device, outer, layer, headRows, ...options }: LayeredDecoderOptions) {
    const { shape, lora } = options
    const rowOps = new RowOps(device)
    this.shape = shape
    this.#outer = outer
    this.#layer = layer
    this.#plans = layerPlans(shape, lora)
    this.#blocks = new CompiledBlocks(device, options)
    this.#embedding = new EmbeddingStage(shape, rowOps)
    this.#packFeeds = new PackFeeds(device, shape)
    const names = { norm: FINAL_NORM, head: headName(shape) }
    const parameters = { ...names, weights: outer, gradients: new Map() }
    this.#head = new HeadStage(device, { shape, rowOps, parameters, chunk: headRows })
  }

  /** As {@link Decoder.evaluate}. */
  async evaluate(
    pack: Pack,
    settings: HeadSettings,
    inputs: LossInputs = {},
  ): Promise<TokenOutputs> {
    const tokens = compiledSize(pack.tokenIds.length)
    await this.#blocks.use(tokens)
    const tensors = await this.#packFeeds.tensors(pack, tokens)
    const table = this.#outer.get(EMBEDDING)!
    let x = await this.#embedding.forward(table, pack.tokenIds, tokens)
    for (const [layer, plan] of this.#plans.entries()) {
      const block = await this.#blocks.forward(tokens, plan, true)
      const feeds = { x, ...tensors.of(plan.kind), ...(await this.#layer(layer)) }
      const { y } = await block.run(feeds)
      x.dispose()
      x = y!
    }
    const outputs = await this.#head.evaluate(x, pack, settings, inputs)
    tensors.dispose()
    disposeAll([x])
    return outputs
  }

  async release(): Promise<void> {
    await this.#blocks.release()
    await this.#head.release()
  }
}
