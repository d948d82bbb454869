import type { DecoderShape } from "./shape.ts"

/** What a llama.cpp architecture computes, beyond what all of them do. */
export interface GgufFamily {
  /** `general.architecture`, which also begins the names of its metadata. */
  readonly architecture: string
  /**
   * Its rotary embedding turns neighbours (2i, 2i + 1), where checkpoints pair i with i + D / 2:
   * the rows of q and k are stored in that order.
   */
  readonly turnsNeighbours: boolean
  /** What of this decoder it has no place for, in words; undefined: it computes all of it. */
  readonly lacks: (shape: DecoderShape) => string | undefined
}

export const GGUF_LLAMA: GgufFamily = {
  architecture: "llama",
  turnsNeighbours: true,
  lacks: () => undefined,
}

/** Of Qwen's graphs only llama's reads the tensor of frequency factors that llama3 scaling needs. */
const LLAMA3_SCALING = "rope_scaling of type llama3"

export const GGUF_QWEN2: GgufFamily = {
  architecture: "qwen2",
  turnsNeighbours: false,
  lacks: ({ rope, numAttentionHeads, headDim, hiddenSize }) =>
    rope.ropeType === "llama3"
      ? LLAMA3_SCALING
      : numAttentionHeads * headDim !== hiddenSize
        ? `heads of ${headDim} (num_attention_heads x head_dim is not hidden_size)`
        : undefined,
}

export const GGUF_QWEN3: GgufFamily = {
  architecture: "qwen3",
  turnsNeighbours: false,
  lacks: ({ rope, attentionBias }) =>
    rope.ropeType === "llama3"
      ? LLAMA3_SCALING
      : attentionBias
        ? "attention_bias: true"
        : undefined,
}
