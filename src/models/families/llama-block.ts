import type { Tensor } from "../../graph/index.ts"
import type { BlockParts } from "../block/parts.ts"
import { linear } from "./family.ts"
import type { DecoderShape, LinearLayer, Parameter } from "./shape.ts"

/** RMSNorm by a weight of the block. */
export const blockNorm = (x: Tensor, parts: BlockParts, name: string, shape: DecoderShape) =>
  x.rmsNorm(parts.weight(`${name}.weight`), shape.rmsNormEps)

/** The final norm of most families. */
export const rmsNorm = (x: Tensor, weight: Tensor, { rmsNormEps }: DecoderShape) =>
  x.rmsNorm(weight, rmsNormEps)

/** silu(gate_proj(x)) * up_proj(x). */
export const gated = (x: Tensor, parts: BlockParts) =>
  parts.linear(x, "mlp.gate_proj").silu().mul(parts.linear(x, "mlp.up_proj"))

export interface LlamaBlock {
  /** RMSNorm over each head of q and k (weights [D]) before the rotary embedding. */
  readonly qkNorm?: boolean
}

/**
 * One block of the Llama family: x [R, C] -> [R, C].
 *
 *     h = x + o_proj(attention(rope(q_proj(n1)), rope(k_proj(n1)), v_proj(n1))),  n1 = RMSNorm(x)
 *     y = h + down_proj(silu(gate_proj(n2)) * up_proj(n2)),                       n2 = RMSNorm(h)
 */
export function llamaBlock(
  x: Tensor,
  parts: BlockParts,
  shape: DecoderShape,
  { qkNorm = false }: LlamaBlock = {},
): Tensor {
  const { numAttentionHeads: H, numKeyValueHeads: K } = shape
  const headNorm = (heads: Tensor, name: string) =>
    qkNorm ? blockNorm(heads, parts, `self_attn.${name}`, shape) : heads
  const heads = (module: string, count: number) => parts.heads(parts.linear(n1, module), count)

  const n1 = blockNorm(x, parts, "input_layernorm", shape)
  const q = parts.rotary(headNorm(heads("self_attn.q_proj", H), "q_norm"))
  const k = parts.rotary(headNorm(heads("self_attn.k_proj", K), "k_norm"))
  const v = heads("self_attn.v_proj", K)
  const o = parts.needed(parts.attention(q, k, v))
  const h = parts.needed(x).add(parts.linear(o, "self_attn.o_proj"))
  const n2 = blockNorm(h, parts, "post_attention_layernorm", shape)
  return h.add(parts.linear(gated(n2, parts), "mlp.down_proj"))
}

export interface LlamaParameters extends LlamaBlock {
  /** q_proj, k_proj and v_proj have a bias. */
  readonly attentionBias?: boolean
  /** o_proj has a bias. */
  readonly attentionOutputBias?: boolean
  /** gate_proj, up_proj and down_proj have a bias. */
  readonly mlpBias?: boolean
}

/** The tensors of {@link llamaBlock}. */
export function llamaParameters(
  shape: DecoderShape,
  { qkNorm, attentionBias, attentionOutputBias, mlpBias }: LlamaParameters = {},
): (LinearLayer | Parameter)[] {
  const { hiddenSize: C, intermediateSize: I, numAttentionHeads, numKeyValueHeads, headDim } = shape
  const queries = numAttentionHeads * headDim
  const keys = numKeyValueHeads * headDim
  const norms = ["self_attn.q_norm.weight", "self_attn.k_norm.weight"]
  return [
    { name: "input_layernorm.weight", shape: [C] },
    linear("self_attn.q_proj", queries, C, attentionBias),
    linear("self_attn.k_proj", keys, C, attentionBias),
    linear("self_attn.v_proj", keys, C, attentionBias),
    linear("self_attn.o_proj", C, queries, attentionOutputBias),
    linear("mlp.gate_proj", I, C, mlpBias),
    linear("mlp.up_proj", I, C, mlpBias),
    linear("mlp.down_proj", C, I, mlpBias),
    ...(qkNorm ? norms.map((name) => ({ name, shape: [headDim] })) : []),
    { name: "post_attention_layernorm.weight", shape: [C] },
  ]
}
