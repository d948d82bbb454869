import type { Tensor } from "../../graph/index.ts"

export interface AttentionOptions {
  /** What the products of queries and keys are multiplied with; left out: 1 / sqrt(D). */
  readonly scale?: number
  /** Scaled products s become softcap * tanh(s / softcap). */
  readonly softcap?: number
  /** Packs of more chunks of queries go back one chunk after the other. */
  readonly chunksAtOnce?: number
}

/**
 * What a family's block is made of. The same block is traced over a pack of whole sequences
 * (training, `packed.ts`) and over new tokens whose earlier keys and values are in a cache
 * (decoding, `cached.ts`); each gives these parts its own meaning. R is the number of rows that
 * pass through the linear layers: the tokens, and in decoding those that fill the lanes.
 */
export interface BlockParts {
  /** x [R, in] -> [R, out]: weight, bias and adapter of a linear layer. */
  linear(x: Tensor, module: string): Tensor
  /** A tensor of the block that is not a linear layer's, by its name below the layer. */
  weight(name: string): Tensor
  /** [R, n D] -> [T, n, D]: the tokens' heads. */
  heads(x: Tensor, count: number): Tensor
  /**
   * The first `rotaryDim` elements of each head [T, n, D] turned by its place; as the layer's kind
   * says.
   */
  rotary(x: Tensor): Tensor
  /** q [T, H, D], k and v [T, K, D] -> [R, H D]: causal, inside the layer's window. */
  attention(q: Tensor, k: Tensor, v: Tensor, options?: AttentionOptions): Tensor
  /** The rows of [R, ...] whose results are asked for; after the last layer's attention, few. */
  needed(x: Tensor): Tensor
  /** Told of a router: p [R, E] of each token's experts, and bool [R, E] of those it is sent to. */
  routed?(p: Tensor, isChosen: Tensor): void
}
