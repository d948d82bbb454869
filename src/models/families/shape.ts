/** The families this engine knows; each is one file named by its `model_type`. */
export const MODEL_TYPES = ["llama", "mistral", "qwen2", "qwen3"] as const
export type ModelType = (typeof MODEL_TYPES)[number]

/** How positions become rotary frequencies (`rope.ts` computes them). */
export type Rope =
  | { readonly ropeType: "default"; readonly ropeTheta: number }
  | { readonly ropeType: "linear"; readonly ropeTheta: number; readonly factor: number }
  | { readonly ropeType: "dynamic"; readonly ropeTheta: number; readonly factor: number }
  | {
      readonly ropeType: "llama3"
      readonly ropeTheta: number
      readonly factor: number
      readonly lowFreqFactor: number
      readonly highFreqFactor: number
      readonly originalMaxPositionEmbeddings: number
    }

/**
 * Everything the engine must know to trace a decoder; no family is named below this record.
 * Sizes are in elements. H = numAttentionHeads, K = numKeyValueHeads, D = headDim, C = hiddenSize,
 * V = vocabSize, L = numHiddenLayers.
 */
export interface DecoderShape {
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly numHiddenLayers: number
  readonly numAttentionHeads: number
  /** Divides numAttentionHeads; query head h reads key-value head floor(h K / H). */
  readonly numKeyValueHeads: number
  /** Even; H * D need not be C. */
  readonly headDim: number
  readonly vocabSize: number
  readonly rmsNormEps: number
  readonly rope: Rope
  /** q_proj, k_proj and v_proj have a bias. */
  readonly attentionBias: boolean
  /** o_proj has a bias. */
  readonly attentionOutputBias: boolean
  /** gate_proj, up_proj and down_proj have a bias. */
  readonly mlpBias: boolean
  /** RMSNorm over each head of q and k (weights [D]) before the rotary embedding. */
  readonly qkNorm: boolean
  /** The head is `model.embed_tokens.weight`; the checkpoint then has no `lm_head.weight`. */
  readonly tieWordEmbeddings: boolean
  readonly maxPositionEmbeddings: number
  readonly hiddenAct: "silu"
}

/** One tensor of a checkpoint, by the checkpoint's own name. Linear weights are [out, in]. */
export interface Parameter {
  readonly name: string
  readonly shape: readonly number[]
}

/** A float32 tensor that can be read when its turn comes. */
export interface TensorSource {
  readonly name: string
  readonly shape: readonly number[]
  readonly read: () => Promise<Float32Array>
}
