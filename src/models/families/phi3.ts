import { integer, present } from "./config-keys.ts"
import { decoderConfig, requireSilu, sameLayers } from "./decoder-config.ts"
import { type Family, linear } from "./family.ts"
import { GGUF_PHI3 } from "./gguf-family.ts"
import { blockNorm, gatedHalves, rmsNorm } from "./llama-block.ts"
import { ropeParameters } from "./rope-config.ts"
import { windowed } from "./sliding-layers.ts"

/**
 * `model_type: phi3`: Phi-3, 3.5, 4 and 4-mini. One product makes q, k and v, one the gate and what
 * is gated; heads may turn in part, at frequencies that depend on the sequence's length (longrope).
 */
export const phi3: Family = {
  about: "Phi-3, 3.5, 4, 4-mini",
  architecture: "Phi3ForCausalLM",
  config(keys) {
    const config = decoderConfig(keys, { rmsNormEps: 1e-5, maxPositionEmbeddings: 4096 })
    requireSilu(keys)
    const rope = ropeParameters(keys, config, {
      rotaryFactor: 1,
      typeNames: { su: "longrope", yarn: "longrope" },
    })
    const layer = present(keys, "sliding_window")
      ? windowed(rope, integer(keys, "sliding_window"))
      : { name: "full", rope }
    return { ...config, layers: sameLayers(config.numHiddenLayers, layer) }
  },
  parameters({ hiddenSize: C, intermediateSize: I, ...shape }) {
    const queries = shape.numAttentionHeads * shape.headDim
    const keys = shape.numKeyValueHeads * shape.headDim
    return [
      linear("self_attn.o_proj", C, queries),
      linear("self_attn.qkv_proj", queries + 2 * keys, C),
      linear("mlp.gate_up_proj", 2 * I, C),
      linear("mlp.down_proj", C, I),
      { name: "input_layernorm.weight", shape: [C] },
      { name: "post_attention_layernorm.weight", shape: [C] },
    ]
  },
  /**
   *     h = x + o_proj(attention(rope(q), rope(k), v)),  [q; k; v] = qkv_proj(RMSNorm(x))
   *     y = h + down_proj(silu(g) * u),                  [g; u] = gate_up_proj(RMSNorm(h))
   */
  block(x, parts, shape) {
    const { numAttentionHeads: H, numKeyValueHeads: K } = shape
    const qkv = parts.heads(
      parts.linear(blockNorm(x, parts, "input_layernorm", shape), "self_attn.qkv_proj"),
      H + 2 * K,
    )
    const q = parts.rotary(qkv.slice(1, 0, H))
    const k = parts.rotary(qkv.slice(1, H, H + K))
    const v = qkv.slice(1, H + K, H + 2 * K)
    const o = parts.needed(parts.attention(q, k, v))
    const h = parts.needed(x).add(parts.linear(o, "self_attn.o_proj"))
    const n = blockNorm(h, parts, "post_attention_layernorm", shape)
    return h.add(parts.linear(gatedHalves(n, parts), "mlp.down_proj"))
  },
  finalNorm: rmsNorm,
  gguf: GGUF_PHI3,
}
