import type { Tensor } from "../../graph/index.ts"
import { flag, positive, present } from "./config-keys.ts"
import { decoderConfig, requireSilu, sameLayers } from "./decoder-config.ts"
import { type ExpertsShape, expertLayers, experts, expertsConfig } from "./experts.ts"
import type { Family } from "./family.ts"
import { attentionLayers, blockNorm, rmsNorm } from "./llama-block.ts"
import { ropeParameters } from "./rope-config.ts"

export interface OlmoeShape extends ExpertsShape {
  readonly attentionBias: boolean
  /** q, k and v are held within -clipQkv and clipQkv. */
  readonly clipQkv: number | undefined
}

/** `model_type: olmoe`: OLMoE, experts in every layer, q and k normed over all heads at once. */
export const olmoe: Family<OlmoeShape> = {
  about: "OLMoE",
  architecture: "OlmoeForCausalLM",
  rewardModel: null,
  config(keys) {
    const config = decoderConfig(keys, { rmsNormEps: 1e-5, maxPositionEmbeddings: 4096 })
    requireSilu(keys)
    const layer = { name: "full", rope: ropeParameters(keys, config) }
    return {
      ...config,
      layers: sameLayers(config.numHiddenLayers, layer),
      ...expertsConfig(keys, { auxLossCoef: 0.01 }),
      moeIntermediateSize: config.intermediateSize,
      attentionBias: flag(keys, "attention_bias", false),
      clipQkv: present(keys, "clip_qkv") ? positive(keys, "clip_qkv") : undefined,
    }
  },
  parameters(shape) {
    const { hiddenSize: C, numAttentionHeads, numKeyValueHeads, headDim } = shape
    const bias = shape.attentionBias
    return [
      ...attentionLayers(shape, { bias, outputBias: bias }),
      { name: "self_attn.q_norm.weight", shape: [numAttentionHeads * headDim] },
      { name: "self_attn.k_norm.weight", shape: [numKeyValueHeads * headDim] },
      ...expertLayers(shape),
      { name: "input_layernorm.weight", shape: [C] },
      { name: "post_attention_layernorm.weight", shape: [C] },
    ]
  },
  /**
   *     h = x + o_proj(attention(rope(clip(RMSNorm(q_proj(n)))), rope(clip(RMSNorm(k_proj(n)))), clip(v_proj(n))))
   *     y = h + experts(RMSNorm(h)),  n = RMSNorm(x)
   */
  block(x, parts, shape) {
    const { numAttentionHeads: H, numKeyValueHeads: K, clipQkv } = shape
    const n1 = blockNorm(x, parts, "input_layernorm", shape)
    const clipped = (y: Tensor) => (clipQkv === undefined ? y : y.max(-clipQkv).min(clipQkv))
    const projected = (name: string) => parts.linear(n1, `self_attn.${name}_proj`)
    const normed = (name: string) =>
      clipped(blockNorm(projected(name), parts, `self_attn.${name}_norm`, shape))
    const q = parts.rotary(parts.heads(normed("q"), H))
    const k = parts.rotary(parts.heads(normed("k"), K))
    const v = parts.heads(clipped(projected("v")), K)
    const o = parts.needed(parts.attention(q, k, v))
    const h = parts.needed(x).add(parts.linear(o, "self_attn.o_proj"))
    return h.add(experts(blockNorm(h, parts, "post_attention_layernorm", shape), parts, shape))
  },
  finalNorm: rmsNorm,
}
