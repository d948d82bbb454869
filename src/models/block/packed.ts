import { dequantize, input, type Tensor } from "../../graph/index.ts"
import type { DecoderShape } from "../families/shape.ts"
import { attention, chunkCount, type PackLayout } from "./attention.ts"
import { blockParameters, type LinearModule } from "./parameters.ts"

/** A low-rank update beside a frozen linear layer, PEFT's names. */
export interface LoraInputs {
  readonly modules: ReadonlySet<LinearModule>
  readonly rank: number
  /** lora_alpha / r, or lora_alpha / sqrt(r) under rsLoRA. */
  readonly scale: number
  /** Probability that an element of the adapter's input is zeroed while training; 0 if left out. */
  readonly dropout?: number
}

export interface WeightQuantization {
  readonly bits: 4 | 8
  readonly groupSize: number
}

export interface BlockOptions {
  readonly shape: DecoderShape
  /** T: tokens in a pack. */
  readonly tokens: number
  readonly lora?: LoraInputs | undefined
  /** The linear weights come as codes, scales and zero points (`quantizedNames`). */
  readonly quantization?: WeightQuantization | undefined
  /** Traced for training: the adapter's dropout masks are inputs. */
  readonly training?: boolean
}

/** The input that holds a module's dropout mask, f32 [T, in]: 0, or 1 / (1 - dropout). */
export function dropoutName(module: LinearModule): string {
  return `dropout.${module}`
}

/** The inputs of a block's graph beside its hidden state and weights. */
export function packInputs({ headDim }: DecoderShape, tokens: number) {
  return {
    cos: input("cos", [tokens, headDim / 2]),
    sin: input("sin", [tokens, headDim / 2]),
    segments: input("segments", [tokens], "i64"),
    keyBegins: input("key_begins", [chunkCount(tokens)], "i64"),
  }
}

export type PackInputs = ReturnType<typeof packInputs>

/** The three inputs that stand for a quantised weight. */
export function quantizedNames(weight: string) {
  return { codes: `${weight}.codes`, scales: `${weight}.scales`, zeros: `${weight}.zeros` }
}

/** A linear weight [out, in] made of its codes where it is used. */
function dequantized(name: string, [out, inFeatures]: readonly number[], q: WeightQuantization) {
  const { bits, groupSize } = q
  const groups = Math.ceil(inFeatures! / groupSize)
  const names = quantizedNames(name)
  return dequantize(
    {
      codes: input(names.codes, [out!, (groups * groupSize * bits) / 8], "u8"),
      scales: input(names.scales, [out!, groups]),
      zeros: input(names.zeros, [out!, groups], "u8"),
    },
    { bits, groupSize, inFeatures: inFeatures! },
  )
}

/**
 * A block's weights as graph inputs, by their names in the checkpoint below the layer's prefix; with
 * `prefix` that is what the inputs' names begin with.
 */
export function blockWeights(
  shape: DecoderShape,
  quantization?: WeightQuantization,
  prefix = "",
): Map<string, Tensor> {
  return new Map(
    blockParameters(shape).map(({ name, shape }) => [
      name,
      quantization && shape.length === 2
        ? dequantized(prefix + name, shape, quantization)
        : input(prefix + name, shape),
    ]),
  )
}

/** Names of an adapter's two matrices for a module: A [r, in], B [out, r]. */
export function loraNames(module: LinearModule): { readonly a: string; readonly b: string } {
  return { a: `${module}.lora_A.weight`, b: `${module}.lora_B.weight` }
}

/** y = x W^T + b (+ scale (dropout(x) A^T) B^T): x [T, in] -> [T, out]. */
function linear(
  x: Tensor,
  module: LinearModule,
  weights: ReadonlyMap<string, Tensor>,
  { lora, training = false }: BlockOptions,
): Tensor {
  const product = x.matmul(weights.get(`${module}.weight`)!, { transB: true })
  const bias = weights.get(`${module}.bias`)
  const y = bias ? product.add(bias) : product
  if (!lora?.modules.has(module)) return y
  const { a, b } = loraNames(module)
  const dropped = training && lora.dropout ? x.mul(input(dropoutName(module), x.shape)) : x
  const low = dropped.matmul(weights.get(a)!, { transB: true }) // [T, r]
  return low.matmul(weights.get(b)!, { transB: true, alpha: lora.scale }).add(y)
}

/**
 * One decoder block of the Llama family: x [T, C] -> [T, C].
 *
 *     h = x + o_proj(attention(rope(q_proj(n1)), rope(k_proj(n1)), v_proj(n1))),  n1 = RMSNorm(x)
 *     y = h + down_proj(silu(gate_proj(n2)) * up_proj(n2)),                       n2 = RMSNorm(h)
 */
export function block(
  x: Tensor,
  weights: ReadonlyMap<string, Tensor>,
  pack: PackInputs,
  options: BlockOptions,
): Tensor {
  const { shape, tokens } = options
  const { numAttentionHeads: H, numKeyValueHeads: K, headDim: D, rmsNormEps } = shape
  const project = (x: Tensor, module: LinearModule) => linear(x, module, weights, options)
  const headNorm = (x: Tensor, name: string) =>
    shape.qkNorm ? x.rmsNorm(weights.get(`self_attn.${name}.weight`)!, rmsNormEps) : x

  const n1 = x.rmsNorm(weights.get("input_layernorm.weight")!, rmsNormEps)
  const q = headNorm(project(n1, "self_attn.q_proj").reshape([tokens, H, D]), "q_norm")
    .rotary(pack.cos, pack.sin)
    .transpose([1, 0, 2]) // [H, T, D]
    .reshape([K, H / K, tokens, D])
  const k = headNorm(project(n1, "self_attn.k_proj").reshape([tokens, K, D]), "k_norm")
    .rotary(pack.cos, pack.sin)
    .transpose([1, 0, 2]) // [K, T, D]
  const v = project(n1, "self_attn.v_proj").reshape([tokens, K, D]).transpose([1, 0, 2])
  const layout: PackLayout = { segments: pack.segments, keyBegins: pack.keyBegins }
  const o = attention(q, k, v, layout)
    .reshape([H, tokens, D])
    .transpose([1, 0, 2])
    .reshape([tokens, H * D])
  const h = x.add(project(o, "self_attn.o_proj"))

  const n2 = h.rmsNorm(weights.get("post_attention_layernorm.weight")!, rmsNormEps)
  const gated = project(n2, "mlp.gate_proj").silu().mul(project(n2, "mlp.up_proj"))
  return h.add(project(gated, "mlp.down_proj"))
}
