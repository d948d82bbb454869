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
import type { DecoderShape, LayerKind } from "../families/shape.ts"
import { familyOf } from "../families/table.ts"
import { type LayerPlan, type LoraInputs, layerPlans } from "./layer-plan.ts"
import { cappedLogits, embeddedRows, headInput } from "./outer-parts.ts"
import {
  adapterInputs,
  type BlockWeights,
  blockWeights,
  linearPart,
  type Product,
  rowProduct,
  turnHeads,
  type WeightQuantization,
} from "./packed.ts"
import { EMBEDDING, layerKinds, layerPrefix } from "./parameters.ts"
import type { BlockParts } from "./parts.ts"

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

const HEAD_GRAIN = 8

/**
 * Elements of a head in a cache: the runtime's attention over it knows multiples of 8 alone, so
 * others are filled with zeros.
 */
export const cachedHeadDim = ({ headDim }: DecoderShape): number =>
  Math.ceil(headDim / HEAD_GRAIN) * HEAD_GRAIN

/** Names of a layer's cache in a graph's inputs; after the new tokens, in its outputs. */
export const cacheNames = (layer: number) => ({
  keys: `cache.${layer}.keys`,
  values: `cache.${layer}.values`,
  keysAfter: `after.${layer}.keys`,
  valuesAfter: `after.${layer}.values`,
})

/**
 * W x^T transposed, for x [LANES, in]. With the weights on the left the product reads them as they
 * lie; on the right it would first copy them into panels, at half the speed. The leading axis keeps
 * ONNX Runtime from turning product and transposition around again.
 */
const columnProduct: Product = (x, weight, alpha = 1) => {
  const [lanes, inFeatures] = x.shape as [number, number]
  return weight
    .matmul(x.reshape([1, lanes, inFeatures]), { transB: true, alpha }) // [1, out, LANES]
    .transpose([0, 2, 1])
    .reshape([lanes, weight.shape[0]!])
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

/** Heads [R, n, D] with zeros after each, [R, n, headDim]. */
function withZeros(x: Tensor, headDim: number): Tensor {
  const [rows, heads, have] = x.shape as [Dim, number, number]
  if (have === headDim) return x
  const zeros = x.slice(2, 0, 1).mul(0)
  return concat([x, ...new Array<Tensor>(headDim - have).fill(zeros)], 2).reshape([
    ...[rows, heads],
    headDim,
  ])
}

/** A turn of each new token's heads: the rotary tables at its place, [R, rotaryDim / 2] each. */
interface Turned {
  readonly cos: Tensor
  readonly sin: Tensor
}

/** Names of the inputs with the rotary tables of a kind of layers. */
export const turnNames = (shape: DecoderShape, kind: LayerKind) => {
  const index = layerKinds(shape).findIndex(({ name }) => name === kind.name)
  const of = index === 0 ? "" : `.${kind.name}`
  return { cos: `cos${of}`, sin: `sin${of}` }
}

interface CacheInputs {
  /** [B, K, P, D] each. */
  readonly keys: Tensor
  readonly values: Tensor
  readonly last: Tensor
  readonly total: Tensor
  readonly turned: Turned | undefined
}

/** The inputs of layers over a cache; tables that several of them use are one input. */
function cacheInputs(shape: DecoderShape, batch: Dim, rows: Dim) {
  const last = input("last", [batch], "i32")
  const total = input("total", [1], "i32")
  const turns = new Map(
    layerKinds(shape).map((kind) => {
      const { cos, sin } = turnNames(shape, kind)
      const dims = kind.rope && [rows, kind.rope.rotaryDim / 2]
      return [kind.name, dims && { cos: input(cos, dims), sin: input(sin, dims) }]
    }),
  )
  return (kind: LayerKind, layer: number): CacheInputs => {
    const dims = [batch, shape.numKeyValueHeads, "places", cachedHeadDim(shape)]
    const names = cacheNames(layer)
    const keys = input(names.keys, dims)
    const values = input(names.values, dims)
    return { last, total, turned: turns.get(kind.name), keys, values }
  }
}

/**
 * A family's block for new tokens of sequences whose earlier keys and values are in a cache:
 * x [N, C] -> [N, C]. `rows` of the N rows are tokens (B S of them); the rest only fill the lanes.
 * With `wanted` i64 [W], only those rows come out: [W, C].
 */
function cachedBlock(
  x: Tensor,
  linear: BlockParts["linear"],
  weights: BlockWeights,
  cache: CacheInputs,
  {
    shape,
    kind,
    rows,
    wanted,
  }: {
    readonly shape: DecoderShape
    readonly kind: LayerKind
    readonly rows: Dim
    readonly wanted?: Tensor | undefined
  },
) {
  const filled = x.shape[0]!
  let after: { keys: Tensor; values: Tensor } | undefined
  const parts: BlockParts = {
    linear,
    weight: (name) => weights.get(name)!,
    heads: (x, count) => withRows(x, rows).reshape([rows, count, Number(x.shape[1]) / count]),
    rotary: (x) => turnHeads(x, cache.turned, kind.rope),
    attention(q, k, v, options) {
      const { headDim: D } = shape
      const filledDim = cachedHeadDim(shape)
      const flat = (x: Tensor) =>
        withZeros(x, filledDim).reshape([rows, Number(x.shape[1]) * filledDim])
      const scale = filledDim === D ? {} : { scale: 1 / Math.sqrt(D) }
      const { y, keys, values } = cachedAttention(
        {
          q: flat(q),
          k: flat(k),
          v: flat(v),
          pastKeys: cache.keys,
          pastValues: cache.values,
          last: cache.last,
          total: cache.total,
        },
        { ...scale, ...options, ...(kind.window === undefined ? {} : { window: kind.window }) },
      )
      after = { keys, values }
      const H = Number(q.shape[1])
      const own = D === filledDim ? y : y.reshape([rows, H, filledDim]).slice(2, 0, D)
      return withRows(own.reshape([rows, H * D]), filled)
    },
    needed: (x) => (wanted ? x.gather(wanted) : x),
  }
  const y = familyOf(shape).block(x, parts, shape, kind)
  assert(after, "a block without attention")
  return { y, ...after }
}

function layerInputs(
  { shape, quantization }: CachedOptions,
  { kind, lora }: LayerPlan,
  prefix: string,
): BlockWeights {
  const adapter = [...adapterInputs({ shape, kind, lora })].map(
    ([name, dims]) => [name, input(prefix + name, dims)] as const,
  )
  return new Map([...blockWeights({ shape, kind, lora, quantization }, prefix), ...adapter])
}

/**
 * One block over `tokens` consecutive tokens of one sequence (cache [1, K, P, D], as layer 0):
 * x [S, C] -> y [S, C]. Weights go by their names inside a layer.
 */
export function prefillBlock(options: CachedOptions, plan: LayerPlan, tokens: number): Graph {
  const { shape } = options
  const { kind, lora } = plan
  const x = input("x", [tokens, shape.hiddenSize])
  const cache = cacheInputs(shape, 1, tokens)(kind, 0)
  const weights = layerInputs(options, plan, "")
  const linear = linearPart(weights, lora)
  const { y, keys, values } = cachedBlock(x, linear, weights, cache, { shape, kind, rows: tokens })
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
    product,
    wanted,
  }: {
    readonly layers: readonly number[]
    readonly batch: Dim
    readonly rows: Dim
    readonly product: Product
    /** The rows that are needed of the last of the layers; without it all. */
    readonly wanted?: Tensor
  },
): Record<string, Tensor> {
  const { shape } = options
  const cache = cacheInputs(shape, batch, rows)
  const plans = layerPlans(shape, options.lora)
  const outputs: Record<string, Tensor> = {}
  let hidden = x
  for (const layer of layers) {
    const plan = plans[layer]!
    const weights = layerInputs(options, plan, layerPrefix(layer))
    const linear = linearPart(weights, plan.lora, product)
    const { kind } = plan
    const { y, keys, values } = cachedBlock(hidden, linear, weights, cache(kind, layer), {
      shape,
      kind,
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
 * [LANES, C] before the final norm, and each layer's cache. `byRows`: hidden [B, C], for a device
 * whose products give a row the same bits beside any others.
 */
export function decodeBlocks(
  options: CachedOptions,
  batch: number,
  { byRows = false } = {},
): Graph {
  const { shape } = options
  const table = input(EMBEDDING, [shape.vocabSize, shape.hiddenSize])
  const tokens = embeddedRows(table.gather(input("ids", [batch], "i64")), shape)
  const layers = [...shape.layers.keys()]
  const product = byRows ? rowProduct : columnProduct
  const x = byRows ? tokens : withRows(tokens, LANES)
  return graph("decode", blocks(x, options, { layers, batch, rows: batch, product }))
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
  const sizes = { layers, batch: "lanes", rows: "rows", product: rowProduct, ...wanted }
  return graph("packed", blocks(x, options, sizes))
}

/** The input of the head's graphs that holds its weights [V, C]. */
export const HEAD_WEIGHT = "head.weight"
export const NORM_WEIGHT = "norm.weight"

function normed(rows: Dim, shape: DecoderShape): Tensor {
  const weight = input(NORM_WEIGHT, [shape.hiddenSize])
  return headInput(input("hidden", [rows, shape.hiddenSize]), weight, shape)
}

/** The final norm and the head: hidden [LANES, C] -> logits [B, V] of the first `batch` rows. */
export function laneLogits(shape: DecoderShape, batch: number): Graph {
  const { hiddenSize: C, vocabSize: V } = shape
  const columns = input(HEAD_WEIGHT, [V, C])
    .matmul(normed(LANES, shape).reshape([1, LANES, C]), { transB: true })
    .reshape([V, LANES])
  const logits = (batch === LANES ? columns : columns.slice(1, 0, batch)).transpose([1, 0])
  return graph("head", { logits: cappedLogits(logits, shape) })
}

/**
 * The same for any number of rows and weights that the graph is compiled with: [R, C] -> [R, V].
 */
export function packedLogits(shape: DecoderShape): Graph {
  const head = input(HEAD_WEIGHT, [shape.vocabSize, shape.hiddenSize])
  const logits = normed("rows", shape).matmul(head, { transB: true })
  return graph("head", { logits: cappedLogits(logits, shape) })
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
