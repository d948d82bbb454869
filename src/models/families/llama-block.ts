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
export const gated = (x: Tensor, parts: BlockParts, mlp = "mlp") =>
  parts
    .linear(x, `${mlp}.gate_proj`)
    .silu()
    .mul(parts.linear(x, `${mlp}.up_proj`))

/** The same of one product whose first half is the gate. */
export function gatedHalves(x: Tensor, parts: BlockParts): Tensor {
  const both = parts.linear(x, "mlp.gate_up_proj")
  const [, width] = both.shape as [unknown, number]
  return both
    .slice(1, 0, width / 2)
    .silu()
    .mul(both.slice(1, width / 2, width))
}

export interface LlamaBlock {
  /** RMSNorm over each head of q and k (weights [D]) before the rotary embedding. */
  readonly qkNorm?: boolean
  /** What the attention's products are multiplied with. */
  readonly attentionScale?: number
  /** What attention and MLP are multiplied with before they are added. */
  readonly residualScale?: number
  /** In place of the gated MLP: n2 [R, C] -> [R, C]. */
  readonly mlp?: (n2: Tensor) => Tensor
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
  options: LlamaBlock = {},
): Tensor {
  const { qkNorm = false, attentionScale, residualScale } = options
  const { numAttentionHeads: H, numKeyValueHeads: K } = shape
  const headNorm = (heads: Tensor, name: string) =>
    qkNorm ? blockNorm(heads, parts, `self_attn.${name}`, shape) : heads
  const heads = (module: string, count: number) => parts.heads(parts.linear(n1, module), count)

  const n1 = blockNorm(x, parts, "input_layernorm", shape)
  const q = parts.rotary(headNorm(heads("self_attn.q_proj", H), "q_norm"))
  const k = parts.rotary(headNorm(heads("self_attn.k_proj", K), "k_norm"))
  const v = heads("self_attn.v_proj", K)
  const scaled = (y: Tensor) => (residualScale === undefined ? y : y.mul(residualScale))
  const mlp = options.mlp ?? ((n2) => parts.linear(gated(n2, parts), "mlp.down_proj"))
  const scale = attentionScale === undefined ? {} : { scale: attentionScale }
  const o = parts.needed(parts.attention(q, k, v, scale))
  const h = parts.needed(x).add(scaled(parts.linear(o, "self_attn.o_proj")))
  const n2 = blockNorm(h, parts, "post_attention_layernorm", shape)
  return h.add(scaled(mlp(n2)))
}

export interface LlamaParameters {
  readonly qkNorm?: boolean
  /** q_proj, k_proj and v_proj have a bias. */
  readonly attentionBias?: boolean
  /** o_proj has a bias. */
  readonly attentionOutputBias?: boolean
  /** gate_proj, up_proj and down_proj have a bias. */
  readonly mlpBias?: boolean
  /** In place of the gated MLP's. */
  readonly mlp?: readonly (LinearLayer | Parameter)[]
}

/** gate_proj, up_proj and down_proj. */
export const gatedLayers = (
  hiddenSize: number,
  intermediateSize: number,
  { mlp = "mlp", bias = false } = {},
): LinearLayer[] => [
  linear(`${mlp}.gate_proj`, intermediateSize, hiddenSize, bias),
  linear(`${mlp}.up_proj`, intermediateSize, hiddenSize, bias),
  linear(`${mlp}.down_proj`, hiddenSize, intermediateSize, bias),
]

/** q_proj, k_proj, v_proj and o_proj. */
export function attentionLayers(
  { hiddenSize: C, numAttentionHeads, numKeyValueHeads, headDim }: DecoderShape,
  { bias = false, outputBias = false } = {},
): LinearLayer[] {
  const [queries, keys] = [numAttentionHeads * headDim, numKeyValueHeads * headDim]
  return [
    linear("self_attn.q_proj", queries, C, bias),
    linear("self_attn.k_proj", keys, C, bias),
    linear("self_attn.v_proj", keys, C, bias),
    linear("self_attn.o_proj", C, queries, outputBias),
  ]
}

/** The tensors of {@link llamaBlock}. */
export function llamaParameters(
  shape: DecoderShape,
  { qkNorm, attentionBias, attentionOutputBias, mlpBias, mlp }: LlamaParameters = {},
): (LinearLayer | Parameter)[] {
  const { hiddenSize: C, intermediateSize: I, headDim } = shape
  const norms = ["self_attn.q_norm.weight", "self_attn.k_norm.weight"]
  return [
    { name: "input_layernorm.weight", shape: [C] },
    ...attentionLayers(shape, { bias: attentionBias, outputBias: attentionOutputBias }),
    ...(mlp ?? gatedLayers(C, I, { bias: mlpBias })),
    ...(qkNorm ? norms.map((name) => ({ name, shape: [headDim] })) : []),
    { name: "post_attention_layernorm.weight", shape: [C] },
  ]
}

/** Of configs with `attention_bias` (all four projections) and `mlp_bias`. */
export interface BiasedShape extends DecoderShape {
  readonly attentionBias: boolean
  readonly mlpBias: boolean
}

/** The tensors of {@link llamaBlock} with the biases that the config asks for. */
export const biasedParameters = (shape: BiasedShape): (LinearLayer | Parameter)[] =>
  llamaParameters(shape, {
    attentionBias: shape.attentionBias,
    attentionOutputBias: shape.attentionBias,
    mlpBias: shape.mlpBias,
  })
