import { flag } from "./config-keys.ts"
import { decoderConfig, requireSilu, sameLayers } from "./decoder-config.ts"
import { type Family, linear } from "./family.ts"
import { GGUF_GLM4 } from "./gguf-family.ts"
import { attentionLayers, blockNorm, gatedHalves, rmsNorm } from "./llama-block.ts"
import { ropeParameters } from "./rope-config.ts"
import type { DecoderShape, LayerKind } from "./shape.ts"

export interface Glm4Shape extends DecoderShape {
  /** q_proj, k_proj and v_proj have a bias. */
  readonly attentionBias: boolean
}

/**
 * `model_type: glm4`: GLM-4-0414; norms before and after, half of each head turns, in neighbours.
 */
export const glm4: Family<Glm4Shape> = {
  about: "GLM-4-0414",
  architecture: "Glm4ForCausalLM",
  config(keys) {
    const config = decoderConfig(keys, {
      headDim: 128,
      numKeyValueHeads: 2,
      rmsNormEps: 1.5625e-7,
      maxPositionEmbeddings: 131_072,
    })
    requireSilu(keys)
    const rope = ropeParameters(keys, config, { rotaryFactor: 0.5 })
    const layer: LayerKind = { name: "full", rope: { ...rope, pairsNeighbours: true } }
    return {
      ...config,
      layers: sameLayers(config.numHiddenLayers, layer),
      attentionBias: flag(keys, "attention_bias", true),
    }
  },
  parameters(shape) {
    const { hiddenSize: C, intermediateSize: I, attentionBias } = shape
    const norms = ["input", "post_attention", "post_self_attn", "post_mlp"]
    return [
      ...attentionLayers(shape, { bias: attentionBias }),
      linear("mlp.gate_up_proj", 2 * I, C),
      linear("mlp.down_proj", C, I),
      ...norms.map((name) => ({ name: `${name}_layernorm.weight`, shape: [C] })),
    ]
  },
  /**
   *     h = x + RMSNorm(o_proj(attention(rope(q), rope(k), v))),  q, k, v of RMSNorm(x)
   *     y = h + RMSNorm(down_proj(silu(g) * u)),                  [g; u] = gate_up_proj(RMSNorm(h))
   */
  block(x, parts, shape) {
    const { numAttentionHeads: H, numKeyValueHeads: K } = shape
    const n1 = blockNorm(x, parts, "input_layernorm", shape)
    const heads = (module: string, count: number) =>
      parts.heads(parts.linear(n1, `self_attn.${module}`), count)
    const [q, k] = [parts.rotary(heads("q_proj", H)), parts.rotary(heads("k_proj", K))]
    const attended = parts.needed(parts.attention(q, k, heads("v_proj", K)))
    const o = parts.linear(attended, "self_attn.o_proj")
    const h = parts.needed(x).add(blockNorm(o, parts, "post_self_attn_layernorm", shape))
    const n2 = blockNorm(h, parts, "post_attention_layernorm", shape)
    const down = parts.linear(gatedHalves(n2, parts), "mlp.down_proj")
    return h.add(blockNorm(down, parts, "post_mlp_layernorm", shape))
  },
  finalNorm: rmsNorm,
  gguf: GGUF_GLM4,
}
