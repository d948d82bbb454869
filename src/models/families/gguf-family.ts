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
  /** Its norms multiply with 1 + w, and llama.cpp stores that sum. */
  readonly addsOneToNorms?: boolean
  /** uint32 metadata of its own, by what follows `<architecture>.`. */
  counts?(shape: Shape): Readonly<Record<string, number>>
  /** float32 metadata of its own, by what follows `<architecture>.`. */
  factors?(shape: Shape): Readonly<Record<string, number>>
  /** What of this decoder it has no place for, in words; undefined: it computes all of it. */
  lacks(shape: Shape): string | undefined
}

const GGUF_NAMES: Readonly<Record<string, string>> = {
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

/** What of positions no architecture has a place for, in words. */
function positions({ layers, maxPositionEmbeddings }: DecoderShape): string | undefined {
  const short = ({ window }: LayerKind) => window !== undefined && window < maxPositionEmbeddings
  if (layers.some(short)) return "sliding windows (sliding_window)"
  const rope = layers.find(({ rope }) => rope)?.rope
  if (rope?.ropeType === "longrope") return "rope_scaling of type longrope"
  if (rope?.ropeType !== "yarn") return undefined
  const usual = rope.factor <= 1 ? 1 : 0.1 * Math.log(rope.factor) + 1
  const isUsual = Math.abs(rope.attentionFactor / usual - 1) < 1e-6
  const isPlain = isUsual && rope.betaFast === 32 && rope.betaSlow === 1 && rope.truncate
  return isPlain ? undefined : "yarn with factors of its own (attention_factor, beta_fast, ...)"
}

/**
 * Only llama's graph and those made after it read the tensor of frequency factors of llama3
 * scaling.
 */
const llama3 = ({ layers }: DecoderShape): string | undefined =>
  layers[0]!.rope?.ropeType === "llama3" ? "rope_scaling of type llama3" : undefined

export const GGUF_LLAMA: GgufFamily = {
  architecture: "llama",
  names: GGUF_NAMES,
  turnsNeighbours: true,
  lacks: positions,
}

export const GGUF_QWEN2: GgufFamily = {
  architecture: "qwen2",
  names: GGUF_NAMES,
  turnsNeighbours: false,
  lacks: (shape) =>
    llama3(shape) ??
    (shape.numAttentionHeads * shape.headDim !== shape.hiddenSize
      ? `heads of ${shape.headDim} (num_attention_heads x head_dim is not hidden_size)`
      : positions(shape)),
}

export const GGUF_QWEN3: GgufFamily<DecoderShape & { readonly attentionBias: boolean }> = {
  architecture: "qwen3",
  names: GGUF_NAMES,
  turnsNeighbours: false,
  lacks: (shape) =>
    llama3(shape) ?? (shape.attentionBias ? "attention_bias: true" : positions(shape)),
}

interface Biased extends DecoderShape {
  readonly attentionBias: boolean
}

interface Granite extends Biased {
  readonly mlpBias: boolean
  readonly embeddingMultiplier: number
  readonly attentionMultiplier: number
  readonly residualMultiplier: number
  readonly logitsScaling: number
}

const biases = ({ attentionBias }: Biased): string | undefined =>
  attentionBias ? "attention_bias: true" : undefined

export const GGUF_GRANITE: GgufFamily<Granite> = {
  architecture: "granite",
  names: GGUF_NAMES,
  turnsNeighbours: true,
  factors: (shape) => ({
    embedding_scale: shape.embeddingMultiplier,
    "attention.scale": shape.attentionMultiplier,
    residual_scale: shape.residualMultiplier,
    logit_scale: shape.logitsScaling,
  }),
  lacks: (shape) =>
    biases(shape) ??
    (shape.mlpBias ? "mlp_bias: true" : undefined) ??
    llama3(shape) ??
    positions(shape),
}

export const GGUF_OLMO2: GgufFamily<Biased> = {
  architecture: "olmo2",
  names: {
    ...GGUF_NAMES,
    post_attention_layernorm: "post_attention_norm",
    post_feedforward_layernorm: "post_ffw_norm",
  },
  turnsNeighbours: false,
  lacks: (shape) => biases(shape) ?? llama3(shape) ?? positions(shape),
}

export const GGUF_GLM4: GgufFamily = {
  architecture: "glm4",
  names: {
    ...GGUF_NAMES,
    post_self_attn_layernorm: "post_attention_norm",
    post_attention_layernorm: "ffn_norm",
    post_mlp_layernorm: "post_ffw_norm",
    "mlp.gate_up_proj": "ffn_up",
  },
  // Its own checkpoints pair neighbours already.
  turnsNeighbours: false,
  lacks: (shape) => llama3(shape) ?? positions(shape),
}

interface Gemma extends DecoderShape {
  readonly attentionBias: boolean
  readonly queryPreAttnScalar: number
  readonly attnLogitSoftcapping: number | undefined
  readonly finalLogitSoftcapping: number | undefined
}

const GEMMA_NAMES = {
  ...GGUF_NAMES,
  post_attention_layernorm: "post_attention_norm",
  pre_feedforward_layernorm: "ffn_norm",
  post_feedforward_layernorm: "post_ffw_norm",
}

/**
 * What both of llama.cpp's Gemma graphs have no place for. `isFull`: the layers without a window.
 */
function gemmaLacks(shape: Gemma, isFull: (layer: number) => boolean): string | undefined {
  if (shape.attentionBias) return "attention_bias: true"
  if (shape.queryPreAttnScalar !== shape.headDim) {
    return `query_pre_attn_scalar ${shape.queryPreAttnScalar} (its own is head_dim, ${shape.headDim})`
  }
  const fits = shape.layers.every(({ window }, layer) => (window === undefined) === isFull(layer))
  return fits ? undefined : "windows in these layers (layer_types)"
}

const windowOf = ({ layers }: DecoderShape): Record<string, number> => {
  const window = layers.find(({ window }) => window !== undefined)?.window
  return window === undefined ? {} : { "attention.sliding_window": window }
}

export const GGUF_GEMMA2: GgufFamily<Gemma> = {
  architecture: "gemma2",
  names: GEMMA_NAMES,
  turnsNeighbours: false,
  addsOneToNorms: true,
  counts: windowOf,
  factors: ({ attnLogitSoftcapping = 0, finalLogitSoftcapping = 0 }) => ({
    attn_logit_softcapping: attnLogitSoftcapping,
    final_logit_softcapping: finalLogitSoftcapping,
  }),
  lacks: (shape) =>
    gemmaLacks(shape, (layer) => layer % 2 === 1) ??
    (shape.attnLogitSoftcapping === undefined || shape.finalLogitSoftcapping === undefined
      ? "logits without soft caps"
      : undefined) ??
    (shape.layers.some(({ rope }) => rope?.ropeType !== "default") ? "rope_scaling" : undefined),
}

/** Layers with a window turn by a base of their own, which llama.cpp has as a constant. */
const LOCAL_THETA = 10_000

export const GGUF_GEMMA3: GgufFamily<Gemma> = {
  architecture: "gemma3",
  names: GEMMA_NAMES,
  turnsNeighbours: false,
  addsOneToNorms: true,
  counts: windowOf,
  lacks(shape) {
    const local = shape.layers.filter(({ window }) => window !== undefined)
    const full = shape.layers.filter(({ window }) => window === undefined)
    const isLocal = ({ rope }: LayerKind) =>
      rope?.ropeType === "default" && rope.ropeTheta === LOCAL_THETA
    const isPlain = ({ rope }: LayerKind) =>
      rope?.ropeType === "default" || rope?.ropeType === "linear"
    return (
      gemmaLacks(shape, (layer) => (layer + 1) % 6 === 0) ??
      (shape.attnLogitSoftcapping || shape.finalLogitSoftcapping
        ? "soft caps of logits"
        : undefined) ??
      (local.every(isLocal) && full.every(isPlain)
        ? undefined
        : "these rotary embeddings (rope_parameters)")
    )
  },
}

/** llama.cpp leaves the rotary embedding out of every fourth layer by itself. */
export const GGUF_SMOLLM3: GgufFamily<Biased & { readonly mlpBias: boolean }> = {
  architecture: "smollm3",
  names: GGUF_NAMES,
  turnsNeighbours: true,
  lacks: (shape) =>
    biases(shape) ??
    (shape.mlpBias ? "mlp_bias: true" : undefined) ??
    llama3(shape) ??
    (shape.layers.every(({ rope }, layer) => (rope === undefined) === ((layer + 1) % 4 === 0))
      ? positions(shape)
      : "rotary embeddings in these layers (no_rope_layers)"),
}

export const GGUF_PHI3: GgufFamily = {
  architecture: "phi3",
  names: { ...GGUF_NAMES, "self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up" },
  turnsNeighbours: false,
  lacks: (shape) => llama3(shape) ?? positions(shape),
}
