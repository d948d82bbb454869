import { assert } from "../../errors.ts"
import {
  cachedAttention,
  concat,
  constant,
  type Dim,
  type Graph,
  graph,
  input,
  type Tensor,
} from "../../graph/index.ts"
import type { DecoderShape } from "../families/shape.ts"
import { adapterShapes } from "./block-graphs.ts"
import { blockWeights, type LoraInputs, loraNames, type WeightQuantization } from "./packed.ts"
import { decoderParameters, type LinearModule, layerPrefix } from "./parameters.ts"

/**
 * Sequences decoded side by side. With weights that are fed, every product of a decoding step is
 * computed for this many columns, used or not: a column's bits then depend on nothing but its own
 * numbers.
 */
export const LANES = 16

export interface CachedOptions {
  readonly shape: DecoderShape
  readonly lora?: LoraInputs | undefined
  /** The linear weights come as codes, scales and zero points. */
  readonly quantization?: WeightQuantization | undefined
}

/** Names of a layer's cache in a graph's inputs; after the new tokens, in its outputs. */
export const cacheNames = (layer: number) => ({
  keys: `cache.${layer}.keys`,
  values: `cache.${layer}.values`,
  keysAfter: `after.${layer}.keys`,
  valuesAfter: `after.${layer}.values`,
})

/** y = x W^T + b (+ scale (x A^T) B^T) for x [R, in] -> [R, out]. */
type Linear = (x: Tensor, module: LinearModule) => Tensor

type Weights = ReadonlyMap<string, Tensor>

/** Many rows, as in training. */
function rowLinear(weights: Weights, lora: LoraInputs | undefined): Linear {
  return (x, module) => {
    const product = x.matmul(weights.get(`${module}.weight`)!, { transB: true })
    const bias = weights.get(`${module}.bias`)
    const y = bias ? product.add(bias) : product
    if (!lora?.modules.has(module)) return y
    const { a, b } = loraNames(module)
    const low = x.matmul(weights.get(a)!, { transB: true }) // [R, r]
    return low.matmul(weights.get(b)!, { transB: true, alpha: lora.scale }).add(y)
  }
}

/**
 * W x^T transposed, for x [LANES, in]. With the weights on the left the product reads them as they
 * lie; on the right it would first copy them into panels, at half the speed. The leading axis keeps
 * ONNX Runtime from turning product and transposition around again.
 */
function columnProduct(weight: Tensor, x: Tensor, alpha = 1): Tensor {
  const [lanes, inFeatures] = x.shape as [number, number]
  return weight
    .matmul(x.reshape([1, lanes, inFeatures]), { transB: true, alpha }) // [1, out, LANES]
    .transpose([0, 2, 1])
    .reshape([lanes, weight.shape[0]!])
}

/** For one token of each lane, side by side. */
function laneLinear(weights: Weights, lora: LoraInputs | undefined): Linear {
  return (x, module) => {
    const product = columnProduct(weights.get(`${module}.weight`)!, x)
    const bias = weights.get(`${module}.bias`)
    const y = bias ? product.add(bias) : product
    if (!lora?.modules.has(module)) return y
    const { a, b } = loraNames(module)
    const low = columnProduct(weights.get(a)!, x) // [LANES, r]
    return columnProduct(weights.get(b)!, low, lora.scale).add(y)
  }
}

/** Rows 0 .. rows of x, or x with zero rows added. */
function withRows(x: Tensor, rows: Dim): Tensor {
  if (x.shape[0] === rows) return x
  const [have, columns] = x.shape as [number, number]
  assert(typeof rows === "number", `${have} rows cannot become "${rows}"`)
  if (have > rows) return x.slice(0, 0, rows)
  return concat(
    [
      x,
      constant(0)
        .reshape([1, 1])
        .expand([rows - have, columns]),
    ],
    0,
  )
}

interface CacheInputs {
  /** [B, K, P, D] each. */
  readonly keys: Tensor
  readonly values: Tensor
  readonly last: Tensor
  readonly total: Tensor
  /** [R, D/2]: the rotary tables at each new token's place. */
  readonly cos: Tensor
  readonly sin: Tensor
}

function cacheInputs({ numKeyValueHeads, headDim }: DecoderShape, batch: Dim, rows: Dim) {
  return {
    last: input("last", [batch], "i32"),
    total: input("total", [1], "i32"),
    cos: input("cos", [rows, headDim / 2]),
    sin: input("sin", [rows, headDim / 2]),
    of: (layer: number) => {
      const dims = [batch, numKeyValueHeads, "places", headDim]
      const names = cacheNames(layer)
      return { keys: input(names.keys, dims), values: input(names.values, dims) }
    },
  }
}

/**
 * The block of `block.ts` for new tokens of sequences whose earlier keys and values are in a cache:
 * x [N, C] -> [N, C]. `rows` of the N rows are tokens (B S of them); the rest only fill the lanes.
 * With `wanted` i64 [W], only those rows come out: [W, C].
 */
function cachedBlock(
  x: Tensor,
  weights: Weights,
  linear: Linear,
  cache: CacheInputs,
  {
    shape,
    rows,
    wanted,
  }: { readonly shape: DecoderShape; readonly rows: Dim; readonly wanted?: Tensor | undefined },
) {
  const { numAttentionHeads: H, numKeyValueHeads: K, headDim: D, rmsNormEps } = shape
  const filled = x.shape[0]!
  const heads = (y: Tensor, count: number, norm?: string) => {
    const split = withRows(y, rows).reshape([rows, count, D])
    const normed =
      norm && shape.qkNorm
        ? split.rmsNorm(weights.get(`self_attn.${norm}.weight`)!, rmsNormEps)
        : split
    return normed
  }
  const n1 = x.rmsNorm(weights.get("input_layernorm.weight")!, rmsNormEps)
  const q = heads(linear(n1, "self_attn.q_proj"), H, "q_norm").rotary(cache.cos, cache.sin)
  const k = heads(linear(n1, "self_attn.k_proj"), K, "k_norm").rotary(cache.cos, cache.sin)
  const v = withRows(linear(n1, "self_attn.v_proj"), rows)
  const attention = cachedAttention({
    q: q.reshape([rows, H * D]),
    k: k.reshape([rows, K * D]),
    v,
    pastKeys: cache.keys,
    pastValues: cache.values,
    last: cache.last,
    total: cache.total,
  })
  const all = withRows(attention.y.reshape([rows, H * D]), filled)
  const [o, residual] = wanted ? [all.gather(wanted), x.gather(wanted)] : [all, x]
  const h = residual.add(linear(o, "self_attn.o_proj"))
  const n2 = h.rmsNorm(weights.get("post_attention_layernorm.weight")!, rmsNormEps)
  const gated = linear(n2, "mlp.gate_proj").silu().mul(linear(n2, "mlp.up_proj"))
  const y = h.add(linear(gated, "mlp.down_proj"))
  return { y, keys: attention.keys, values: attention.values }
}

function layerInputs(options: CachedOptions, layer: number | undefined): Map<string, Tensor> {
  const { shape, quantization, lora } = options
  const prefix = layer === undefined ? "" : layerPrefix(layer)
  const adapter = [...adapterShapes({ shape, lora, tokens: 1 })].map(
    ([name, dims]) => [name, input(prefix + name, dims)] as const,
  )
  return new Map([...blockWeights(shape, quantization, prefix), ...adapter])
}

/**
 * One block over `tokens` consecutive tokens of one sequence (cache [1, K, P, D], as layer 0):
 * x [S, C] -> y [S, C]. Weights go by their names inside a layer.
 */
export function prefillBlock(options: CachedOptions, tokens: number): Graph {
  const { shape } = options
  const x = input("x", [tokens, shape.hiddenSize])
  const cache = cacheInputs(shape, 1, tokens)
  const weights = layerInputs(options, undefined)
  const linear = rowLinear(weights, options.lora)
  const { y, keys, values } = cachedBlock(
    x,
    weights,
    linear,
    { ...cache, ...cache.of(0) },
    {
      shape,
      rows: tokens,
    },
  )
  const names = cacheNames(0)
  return graph("prefill", { y, [names.keysAfter]: keys, [names.valuesAfter]: values })
}

/** Several blocks in one graph; weights go by the checkpoint's names. */
function blocks(
  x: Tensor,
  options: CachedOptions,
  {
    layers,
    batch,
    rows,
    linear,
    wanted,
  }: {
    readonly layers: readonly number[]
    readonly batch: Dim
    readonly rows: Dim
    readonly linear: typeof rowLinear
    /** The rows that are needed of the last of the layers; without it all. */
    readonly wanted?: Tensor
  },
): Record<string, Tensor> {
  const { shape } = options
  const cache = cacheInputs(shape, batch, rows)
  const outputs: Record<string, Tensor> = {}
  let hidden = x
  for (const layer of layers) {
    const weights = layerInputs(options, layer)
    const inputs = { ...cache, ...cache.of(layer) }
    const project = linear(weights, options.lora)
    const { y, keys, values } = cachedBlock(hidden, weights, project, inputs, {
      shape,
      rows,
      wanted: layer === layers.at(-1) ? wanted : undefined,
    })
    const names = cacheNames(layer)
    Object.assign(outputs, { [names.keysAfter]: keys, [names.valuesAfter]: values })
    hidden = y
  }
  return { ...outputs, hidden }
}

/**
 * One token of each of `batch` sequences (at most LANES) through all blocks: ids i64 [B] -> hidden
 * [LANES, C] before the final norm, and each layer's cache.
 */
export function decodeBlocks(options: CachedOptions, batch: number): Graph {
  const embedding = decoderParameters(options.shape)[0]!
  const tokens = input(embedding.name, embedding.shape).gather(input("ids", [batch], "i64"))
  const layers = Array.from({ length: options.shape.numHiddenLayers }, (_, layer) => layer)
  const sizes = { layers, batch, rows: batch, linear: laneLinear }
  return graph("decode", blocks(withRows(tokens, LANES), options, sizes))
}

/**
 * Any number of rows through some blocks, for weights that the graph is compiled with: R = B S new
 * tokens, S of each of B sequences, x [R, C] -> hidden [R, C], and each layer's cache. After the
 * model's last layer only the rows `wanted` i64 [W] are of use: hidden [W, C].
 */
export function packedBlocks(options: CachedOptions, layers: readonly number[]): Graph {
  const { hiddenSize, numHiddenLayers } = options.shape
  const x = input("x", ["rows", hiddenSize])
  const ends = layers.at(-1) === numHiddenLayers - 1
  const wanted = ends ? { wanted: input("wanted", ["wanted"], "i64") } : {}
  const sizes = { layers, batch: "lanes", rows: "rows", linear: rowLinear, ...wanted }
  return graph("packed", blocks(x, options, sizes))
}

/** The input of the head's graphs that holds its weights [V, C]. */
export const HEAD_WEIGHT = "head.weight"
export const NORM_WEIGHT = "norm.weight"

function normed(rows: Dim, { hiddenSize, rmsNormEps }: DecoderShape): Tensor {
  return input("hidden", [rows, hiddenSize]).rmsNorm(input(NORM_WEIGHT, [hiddenSize]), rmsNormEps)
}

/** The final norm and the head: hidden [LANES, C] -> logits [B, V] of the first `batch` rows. */
export function laneLogits(shape: DecoderShape, batch: number): Graph {
  const { hiddenSize: C, vocabSize: V } = shape
  const columns = input(HEAD_WEIGHT, [V, C])
    .matmul(normed(LANES, shape).reshape([1, LANES, C]), { transB: true })
    .reshape([V, LANES])
  const logits = (batch === LANES ? columns : columns.slice(1, 0, batch)).transpose([1, 0])
  return graph("head", { logits })
}

/** The same for any number of rows and weights that the graph is compiled with: [R, C] -> [R, V]. */
export function packedLogits(shape: DecoderShape): Graph {
  const head = input(HEAD_WEIGHT, [shape.vocabSize, shape.hiddenSize])
  return graph("head", { logits: normed("rows", shape).matmul(head, { transB: true }) })
}

/**
 * logits [B, V] and, where `tempered`, inverse_temperature f32 [B, 1] (else 1) ->
 *
 *     p = softmax(logits / temperature) [B, V];
 *     top [B, 1], the largest logit;  peak [B, 1], the largest probability at temperature 1
 *
 * so that log sum exp(logits) = top - log(peak), exact where the sum itself would overflow.
 */
export function distributions(vocabSize: number, tempered: boolean): Graph {
  const logits = input("logits", ["rows", vocabSize])
  const p1 = logits.softmax()
  return graph("distributions", {
    p: tempered ? logits.mul(input("inverse_temperature", ["rows", 1])).softmax() : p1,
    top: logits.reduceMax(-1, { keepDims: true }),
    peak: p1.reduceMax(-1, { keepDims: true }),
  })
}
