import type { Tensor } from "../../graph/index.ts"
import type { BlockParts } from "../block/parts.ts"
import { type ConfigKeys, flag, positive, present, refuse } from "./config-keys.ts"
import { type DecoderConfig, decoderConfig } from "./decoder-config.ts"
import { attentionLayers, gatedLayers } from "./llama-block.ts"
import type { DecoderShape, LinearLayer, Parameter } from "./shape.ts"

export interface GemmaShape extends DecoderShape {
  readonly queryPreAttnScalar: number
  /** Biases on all four attention projections. */
  readonly attentionBias: boolean
  readonly attnLogitSoftcapping: number | undefined
  readonly finalLogitSoftcapping: number | undefined
}

/** RMSNorm by 1 + w. */
export const gemmaNorm = (x: Tensor, weight: Tensor, { rmsNormEps }: DecoderShape) =>
  x.rmsNorm(weight.add(1), rmsNormEps)

/**
 * 0.5 x (1 + tanh(u)) = x sigmoid(2u), u = sqrt(2 / pi) (x + 0.044715 x^3): GELU's approximation.
 */
const geluTanh = (x: Tensor): Tensor =>
  x.mul(
    x
      .mul(x)
      .mul(0.044715)
      .add(1)
      .mul(x)
      .mul(2 * Math.sqrt(2 / Math.PI))
      .sigmoid(),
  )

/**
 * One block of Gemma 2 and 3: x [R, C] -> [R, C], with norms before and after attention and MLP.
 *
 *     h = x + N(o_proj(attention(rope(q), rope(k), v))),  q, k, v of N(x)
 *     y = h + N(down_proj(gelu(gate_proj(n)) * up_proj(n))),  n = N(h)
 */
export function gemmaBlock(
  x: Tensor,
  parts: BlockParts,
  shape: GemmaShape,
  { qkNorm }: { readonly qkNorm: boolean },
): Tensor {
  const { numAttentionHeads: H, numKeyValueHeads: K, attnLogitSoftcapping: softcap } = shape
  const norm = (x: Tensor, name: string) => gemmaNorm(x, parts.weight(`${name}.weight`), shape)
  const heads = (module: string, count: number) => parts.heads(parts.linear(n1, module), count)
  const headNorm = (x: Tensor, name: string) => (qkNorm ? norm(x, `self_attn.${name}`) : x)

  const n1 = norm(x, "input_layernorm")
  const q = parts.rotary(headNorm(heads("self_attn.q_proj", H), "q_norm"))
  const k = parts.rotary(headNorm(heads("self_attn.k_proj", K), "k_norm"))
  const v = heads("self_attn.v_proj", K)
  const scale = shape.queryPreAttnScalar ** -0.5
  const options = softcap === undefined ? { scale } : { scale, softcap }
  const o = parts.linear(parts.needed(parts.attention(q, k, v, options)), "self_attn.o_proj")
  const h = parts.needed(x).add(norm(o, "post_attention_layernorm"))

  const n2 = norm(h, "pre_feedforward_layernorm")
  const gate = geluTanh(parts.linear(n2, "mlp.gate_proj"))
  const down = parts.linear(gate.mul(parts.linear(n2, "mlp.up_proj")), "mlp.down_proj")
  return h.add(norm(down, "post_feedforward_layernorm"))
}

/** The tensors of {@link gemmaBlock}. */
export function gemmaParameters(
  shape: GemmaShape,
  { qkNorm }: { readonly qkNorm: boolean },
): (LinearLayer | Parameter)[] {
  const { hiddenSize: C, intermediateSize, attentionBias: bias, headDim } = shape
  const vector = (name: string, size: number): Parameter => ({ name, shape: [size] })
  return [
    ...attentionLayers(shape, { bias, outputBias: bias }),
    ...(qkNorm
      ? [vector("self_attn.q_norm.weight", headDim), vector("self_attn.k_norm.weight", headDim)]
      : []),
    ...gatedLayers(C, intermediateSize),
    vector("input_layernorm.weight", C),
    vector("post_attention_layernorm.weight", C),
    vector("pre_feedforward_layernorm.weight", C),
    vector("post_feedforward_layernorm.weight", C),
  ]
}

/** A cap that null or a missing key may leave out. */
const cap = (keys: ConfigKeys, key: string, missing: number | undefined): number | undefined => {
  if (keys.values[key] === undefined) return missing
  return present(keys, key) ? positive(keys, key) : undefined
}

interface GemmaDefaults {
  readonly maxPositionEmbeddings: number
  readonly attentionCap?: number
  readonly logitCap?: number
}

/** Everything but the layers. */
export function gemmaConfig(
  keys: ConfigKeys,
  { maxPositionEmbeddings, attentionCap, logitCap }: GemmaDefaults,
): DecoderConfig & Omit<GemmaShape, "layers"> {
  const act = keys.values.hidden_activation ?? keys.values.hidden_act ?? "gelu_pytorch_tanh"
  if (act !== "gelu_pytorch_tanh") {
    refuse(keys, "hidden_activation", 'the supported activation "gelu_pytorch_tanh"')
  }
  if (flag(keys, "use_bidirectional_attention", false)) {
    refuse(keys, "use_bidirectional_attention", "false (a decoder)")
  }
  return {
    ...decoderConfig(keys, {
      headDim: 256,
      numKeyValueHeads: 4,
      tieWordEmbeddings: true,
      maxPositionEmbeddings,
    }),
    queryPreAttnScalar: positive(keys, "query_pre_attn_scalar", 256),
    attentionBias: flag(keys, "attention_bias", false),
    attnLogitSoftcapping: cap(keys, "attn_logit_softcapping", attentionCap),
    finalLogitSoftcapping: cap(keys, "final_logit_softcapping", logitCap),
  }
}
