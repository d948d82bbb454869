import { concat, type Dim, dequantize, input, type Tensor } from "../../graph/index.ts"
import type { DecoderShape, LayerKind, Rope } from "../families/shape.ts"
import { familyOf } from "../families/table.ts"
import { attention, chunkCount } from "./attention.ts"
import { doraGain, doraInputs, doraNames } from "./dora.ts"
import type { LayerLora } from "./layer-plan.ts"
import { blockParameters, linearLayers } from "./parameters.ts"
import type { BlockParts } from "./parts.ts"

export interface WeightQuantization {
  readonly bits: 4 | 8
  readonly groupSize: number
}

export interface BlockOptions {
  readonly shape: DecoderShape
  readonly kind: LayerKind
  /** T: tokens in a pack. */
  readonly tokens: number
  readonly lora?: LayerLora | undefined
  /** Without an adapter: tensors that do not train. */
  readonly frozen?: ReadonlySet<string> | undefined
  /** The linear weights come as codes, scales and zero points (`quantizedNames`). */
  readonly quantization?: WeightQuantization | undefined
  /** Traced for training: the adapter's dropout masks are inputs. */
  readonly training?: boolean
  /** Told of the layer's router, where it has experts. */
  readonly routed?: BlockParts["routed"]
}

/** Inputs and results of a block's graphs where its router is asked. */
export const ROUTED = { real: "real", sent: "sent", sums: "sums", gradient: "dsums" } as const

/** The input that holds a module's dropout mask, f32 [T, in]: 0, or 1 / (1 - dropout). */
export function dropoutName(module: string): string {
  return `dropout.${module}`
}

/** The inputs of a block's graph beside its hidden state and weights. */
export function packInputs({ rope, window }: LayerKind, tokens: number) {
  const turned = rope && {
    cos: input("cos", [tokens, rope.rotaryDim / 2]),
    sin: input("sin", [tokens, rope.rotaryDim / 2]),
  }
  return {
    turned,
    ends: input("ends", [tokens], "i64"),
    keyBegins: input("key_begins", [chunkCount(tokens)], "i64"),
    window:
      window === undefined ? undefined : { size: window, places: input("places", [tokens], "i64") },
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

/** Tensors of a block by their names in the checkpoint below the layer's prefix. */
export type BlockWeights = ReadonlyMap<string, Tensor>

/**
 * A block's weights as graph inputs; with `prefix` that is what the inputs' names begin with.
 */
export function blockWeights(
  {
    shape,
    kind,
    lora,
    quantization,
  }: Pick<BlockOptions, "shape" | "kind" | "lora" | "quantization">,
  prefix = "",
): Map<string, Tensor> {
  const linears = linearLayers(shape, kind)
  const isLinear = (name: string) => linears.has(name.replace(/\.weight$/, ""))
  return new Map(
    blockParameters(shape, kind).map(({ name, shape }) => [
      name,
      quantization && isLinear(name) && !lora?.whole?.has(name)
        ? dequantized(prefix + name, shape, quantization)
        : input(prefix + name, shape),
    ]),
  )
}

/** Names of an adapter's two matrices for a module: A [r, in], B [out, r]. */
export function loraNames(module: string): { readonly a: string; readonly b: string } {
  return { a: `${module}.lora_A.weight`, b: `${module}.lora_B.weight` }
}

/** The trained matrices of a layer's adapter, with their shapes. */
export function adapterShapes({
  shape,
  kind,
  lora,
}: Pick<BlockOptions, "shape" | "kind" | "lora">): Map<string, readonly number[]> {
  const linears = linearLayers(shape, kind)
  return new Map(
    [...(lora?.modules ?? [])].flatMap(([module, { rank, dora }]) => {
      const { a, b } = loraNames(module)
      const { inFeatures, outFeatures } = linears.get(module)!
      const matrices: [string, readonly number[]][] = [
        [a, [rank, inFeatures]],
        [b, [outFeatures, rank]],
      ]
      return dora ? [...matrices, [doraNames(module).magnitude, [outFeatures]]] : matrices
    }),
  )
}

/** Those, and what the graphs take of a layer's adapter besides. */
export function adapterInputs(
  options: Pick<BlockOptions, "shape" | "kind" | "lora">,
): Map<string, readonly number[]> {
  const linears = linearLayers(options.shape, options.kind)
  const fixed = doraInputs(options.lora, (module) => linears.get(module)!.outFeatures)
  return new Map([...adapterShapes(options), ...fixed])
}

/** alpha * x W^T for x [R, in] and W [out, in]. */
export type Product = (x: Tensor, weight: Tensor, alpha?: number) => Tensor

export const rowProduct: Product = (x, weight, alpha = 1) =>
  x.matmul(weight, { transB: true, alpha })

/**
 * y = x W^T + b (+ scale (dropout(x) A^T) B^T): x [R, in] -> [R, out]. Under DoRA
 * y = b + x W^T + (g - 1) (d W^T) + g scale (d A^T) B^T, d = dropout(x).
 */
export function linearPart(
  weights: BlockWeights,
  lora: LayerLora | undefined,
  product: Product = rowProduct,
  dropped: (x: Tensor, module: string) => Tensor = (x) => x,
): BlockParts["linear"] {
  return (x, module) => {
    const weight = weights.get(`${module}.weight`)!
    const straight = product(x, weight)
    const bias = weights.get(`${module}.bias`)
    const update = lora?.modules.get(module)
    const biased = (y: Tensor) => (bias ? y.add(bias) : y)
    if (!update) return biased(straight)
    const names = loraNames(module)
    const [a, b] = [weights.get(names.a)!, weights.get(names.b)!]
    const seen = dropped(x, module)
    const low = product(seen, a) // [R, r]
    if (!update.dora) return product(low, b, update.scale).add(biased(straight))
    const own = doraNames(module)
    const kept = { magnitude: weights.get(own.magnitude)!, squares: weights.get(own.squares)! }
    const gain = doraGain({ a, b, ...kept }, product(a, weight), update.scale)
    if (seen === x) return biased(product(low, b, update.scale).add(straight).mul(gain))
    const change = product(seen, weight).mul(gain.sub(1))
    return biased(straight)
      .add(change)
      .add(product(low, b, update.scale).mul(gain))
  }
}

/**
 * Turns the first elements of each head [T, n, D] by the tables [T, rotaryDim / 2]. Pairs of
 * neighbours are put apart first and stay so: queries and keys alike, so their products are the
 * same.
 */
export function turnHeads(
  x: Tensor,
  turned: { readonly cos: Tensor; readonly sin: Tensor } | undefined,
  rope: Rope | undefined,
): Tensor {
  if (!turned || !rope) return x
  const [tokens, heads, headDim] = x.shape as [Dim, number, number]
  const { rotaryDim: R, pairsNeighbours } = rope
  const first = R === headDim ? x : x.slice(2, 0, R)
  const apart = pairsNeighbours
    ? first
        .reshape([tokens, heads, R / 2, 2])
        .transpose([0, 1, 3, 2])
        .reshape([tokens, heads, R])
    : first
  const rotated = apart.rotary(turned.cos, turned.sin)
  return R === headDim ? rotated : concat([rotated, x.slice(2, R, headDim)], 2)
}

/** The block over a pack of whole sequences: x [T, C] -> [T, C]. */
export function packedBlock(
  x: Tensor,
  weights: BlockWeights,
  { turned, ...layout }: PackInputs,
  { shape, kind, tokens, lora, training = false, routed }: BlockOptions,
): Tensor {
  const dropped = (x: Tensor, module: string) =>
    training && lora?.dropout ? x.mul(input(dropoutName(module), x.shape)) : x
  const parts: BlockParts = {
    linear: linearPart(weights, lora, rowProduct, dropped),
    weight: (name) => weights.get(name)!,
    heads: (x, count) => x.reshape([tokens, count, Number(x.shape[1]) / count]),
    rotary: (x) => turnHeads(x, turned, kind.rope),
    attention(q, k, v, options) {
      const [, H, D] = q.shape as [number, number, number]
      const K = k.shape[1] as number
      const byHead = (x: Tensor) => x.transpose([1, 0, 2]) // [n, T, D]
      const queries = byHead(q).reshape([K, H / K, tokens, D])
      return attention(queries, byHead(k), byHead(v), layout, options)
        .reshape([H, tokens, D])
        .transpose([1, 0, 2])
        .reshape([tokens, H * D])
    },
    needed: (x) => x,
    ...(routed && { routed }),
  }
  return familyOf(shape).block(x, parts, shape, kind)
}
