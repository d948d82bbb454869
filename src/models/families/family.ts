import type { Tensor } from "../../graph/index.ts"
import type { BlockParts } from "../block/parts.ts"
import type { ConfigKeys } from "./config-keys.ts"
import type { GgufFamily } from "./gguf-family.ts"
import type { DecoderShape, LayerKind, LinearLayer, Parameter } from "./shape.ts"

/**
 * A model family: all that tells it from others, in one file named by its `model_type`. Everything
 * else (training, decoding, adapters, quantisation, files) asks here.
 */
export interface Family<Shape extends DecoderShape = DecoderShape> {
  /** The checkpoints that are of it, for people. */
  readonly about: string
  /** Transformers' class whose checkpoints have this family's tensor names. */
  readonly architecture: string
  /**
   * Transformers' class with one score in place of the head; left out: named like it; null: there
   * is none.
   */
  readonly rewardModel?: string | null
  /**
   * Reads config.json's keys.
   * @throws InputError for what would make the tensors mean something that the block does not do
   */
  config(keys: ConfigKeys): Shape
  /**
   * The tensors of a block of this kind by their names below the layer, in the checkpoint's order.
   */
  parameters(shape: Shape, kind: LayerKind): readonly (LinearLayer | Parameter)[]
  /** x [R, C] -> [R, C], or with the rows that are `needed`. */
  block(x: Tensor, parts: BlockParts, shape: Shape, kind: LayerKind): Tensor
  /** The last hidden states [n, C] as the head multiplies its weights with them. */
  finalNorm(x: Tensor, weight: Tensor, shape: Shape): Tensor
  /** What rows of the embedding are multiplied with; left out: 1. */
  embeddingScale?(shape: Shape): number
  /** What logits become beyond the head's product; left out: nothing. */
  logits?(shape: Shape): LogitSettings
  /** Left out: llama.cpp has no architecture for it, or dftune does not write it yet. */
  readonly gguf?: GgufFamily<Shape>
}

/** Products z of head and hidden states become softcap * tanh(scale z / softcap), or scale z. */
export interface LogitSettings {
  readonly scale?: number | undefined
  readonly softcap?: number | undefined
}

export const linear = (
  module: string,
  outFeatures: number,
  inFeatures: number,
  bias = false,
): LinearLayer => ({ module, outFeatures, inFeatures, bias })
