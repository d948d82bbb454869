import type { DecoderShape, LayerKind } from "./shape.ts"

/** What a llama.cpp architecture computes, beyond what all of them do, and how it names it. */
export interface GgufFamily<Shape extends DecoderShape = DecoderShape> {
  /** `general.architecture`, which also begins the names of its metadata. */
  readonly architecture: string
  /** A layer's modules by their names below `blk.N.`; {@link GGUF_NAMES} for most. */
  readonly names: Readonly<Record<string, string>>
  /**
   * Its rotary embedding turns neighbours (2i, 2i + 1), where checkpoints pair i with i + D / 2:
   * the rows of q and k are stored in that order.
   */
  readonly turnsNeighbours: boolean
  /** What of this decoder it has no place for, in words; undefined: it computes all of it. */
  lacks(shape: Shape): string | undefined
}

export const GGUF_NAMES: Readonly<Record<string, string>> = {
  input_layernorm: "attn_norm",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  "self_attn.q_norm": "attn_q_norm",
  "self_attn.k_norm": "attn_k_norm",
  post_attention_layernorm: "ffn_norm",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
}

/** The rotary scaling of a decoder whose layers share it. */
const ropeType = ({ layers }: DecoderShape) => layers[0]!.rope?.ropeType

const window = ({ layers, maxPositionEmbeddings }: DecoderShape): string | undefined => {
  const short = ({ window }: LayerKind) => window !== undefined && window < maxPositionEmbeddings
  return layers.some(short) ? "sliding windows (sliding_window)" : undefined
}

export const GGUF_LLAMA: GgufFamily = {
  architecture: "llama",
  names: GGUF_NAMES,
  turnsNeighbours: true,
  lacks: window,
}

/** Of Qwen's graphs only llama's reads the tensor of frequency factors that llama3 scaling needs. */
const LLAMA3_SCALING = "rope_scaling of type llama3"

export const GGUF_QWEN2: GgufFamily = {
  architecture: "qwen2",
  names: GGUF_NAMES,
  turnsNeighbours: false,
  lacks: (shape) =>
    ropeType(shape) === "llama3"
      ? LLAMA3_SCALING
      : shape.numAttentionHeads * shape.headDim !== shape.hiddenSize
        ? `heads of ${shape.headDim} (num_attention_heads x head_dim is not hidden_size)`
        : window(shape),
}

export const GGUF_QWEN3: GgufFamily<DecoderShape & { readonly attentionBias: boolean }> = {
  architecture: "qwen3",
  names: GGUF_NAMES,
  turnsNeighbours: false,
  lacks: (shape) =>
    ropeType(shape) === "llama3"
      ? LLAMA3_SCALING
      : shape.attentionBias
        ? "attention_bias: true"
        : window(shape),
}
