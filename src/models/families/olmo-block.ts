import type { Tensor } from "../../graph/index.ts"
import type { BlockParts } from "../block/parts.ts"
import { attentionLayers, blockNorm, gated, gatedLayers } from "./llama-block.ts"
import type { DecoderShape, LinearLayer, Parameter } from "./shape.ts"

export interface OlmoShape extends DecoderShape {
  /** Biases on all four attention projections. */
  readonly attentionBias: boolean
}

/**
 * One block of OLMo 2 and 3: x [R, C] -> [R, C]. Norms follow attention and MLP, and q and k are
 * normed over all their heads at once.
 *
 *     h = x + RMSNorm(o_proj(attention(rope(RMSNorm(q_proj(x))), rope(RMSNorm(k_proj(x))), v_proj(x))))
 *     y = h + RMSNorm(down_proj(silu(gate_proj(h)) * up_proj(h)))
 */
export function olmoBlock(x: Tensor, parts: BlockParts, shape: OlmoShape): Tensor {
  const { numAttentionHeads: H, numKeyValueHeads: K } = shape
  const normed = (module: string, norm: string) =>
    blockNorm(parts.linear(x, `self_attn.${module}`), parts, `self_attn.${norm}`, shape)
  const q = parts.rotary(parts.heads(normed("q_proj", "q_norm"), H))
  const k = parts.rotary(parts.heads(normed("k_proj", "k_norm"), K))
  const v = parts.heads(parts.linear(x, "self_attn.v_proj"), K)
  const o = parts.linear(parts.needed(parts.attention(q, k, v)), "self_attn.o_proj")
  const h = parts.needed(x).add(blockNorm(o, parts, "post_attention_layernorm", shape))
  const down = parts.linear(gated(h, parts), "mlp.down_proj")
  return h.add(blockNorm(down, parts, "post_feedforward_layernorm", shape))
}

/** The tensors of {@link olmoBlock}. */
export function olmoParameters(shape: OlmoShape): (LinearLayer | Parameter)[] {
  const { hiddenSize: C, numAttentionHeads, numKeyValueHeads, headDim, attentionBias: bias } = shape
  return [
    ...attentionLayers(shape, { bias, outputBias: bias }),
    { name: "self_attn.q_norm.weight", shape: [numAttentionHeads * headDim] },
    { name: "self_attn.k_norm.weight", shape: [numKeyValueHeads * headDim] },
    ...gatedLayers(C, shape.intermediateSize),
    { name: "post_attention_layernorm.weight", shape: [C] },
    { name: "post_feedforward_layernorm.weight", shape: [C] },
  ]
}
