import { assert } from "../../../errors.ts"
import type { DType, Graph, ProductAttributes, Shape, Tensor } from "../../../graph/index.ts"
import type { Attribute, Emitter } from "../lowering.ts"

/** The domain of the operators of native/src/operators.c. */
export const OWN_DOMAIN = "dftune"

type Attributes = Readonly<Record<string, Attribute>>

export const productAttributes = ({ transA, transB, alpha }: ProductAttributes) => ({
  transA: { i: transA ? 1 : 0 },
  transB: { i: transB ? 1 : 0 },
  alpha: { f: alpha },
})

/**
 * alpha op(a) op(b) (+ c) by an operator of our own, where one is to compute it; else undefined.
 */
export function ownProduct(
  emit: Emitter,
  inputs: readonly string[],
  node: Tensor<"matmul"> | Tensor<"gemm">,
): string | undefined {
  const attributes = ownAttributes(emit, node)
  if (!attributes) return undefined
  const [a, b, c] = inputs as [string, string, string | undefined]
  const { type, factor, more } = heldFactor(emit, node, b)
  const operands = [a, ...factor]
  const product = (inputs: readonly string[]) =>
    emit.node(type, inputs, { ...attributes, ...more }, OWN_DOMAIN)
  if (c === undefined) return product(operands)
  if (isAddedInPlace(node.inputs[2]!.shape, node.shape)) return product([...operands, c])
  return emit.node("Add", [product(operands), c])
}

interface HeldFactor {
  readonly type: "Product" | "PackedProduct" | "QuantizedProduct"
  readonly factor: readonly string[]
  readonly more?: Attributes
}

/** The operator that takes the right factor as it is held, and what it has to know of it. */
function heldFactor(emit: Emitter, product: Tensor, name: string): HeldFactor {
  const factor = product.inputs[1]!
  // As packed ones are: native/src/product.h says how a weight is rounded, and why.
  const isWeight = factor.op === "input" && isBf16Product(product)
  if (emit.isPacked(factor)) {
    return { type: "PackedProduct", factor: [name], more: sizes(factor.shape) }
  }
  if (factor.op !== "dequantize") {
    return { type: "Product", factor: [name], more: { weight: { i: isWeight ? 1 : 0 } } }
  }
  const { bits, groupSize } = (factor as Tensor<"dequantize">).attributes
  const more = { ...sizes(factor.shape), bits: { i: bits }, group: { i: groupSize } }
  return { type: "QuantizedProduct", factor: factor.inputs.map(emit.nameOf), more }
}

const sizes = ([rows, columns]: Shape) => ({
  rows: { i: rows as number },
  columns: { i: columns as number },
})

/** Weights made of codes that products alone take, as their right factors: never made whole. */
export function codesOfFactors(graph: Graph): ReadonlySet<Tensor> {
  const codes = graph.nodes.filter(({ op }) => op === "dequantize")
  const others = graph.nodes.flatMap((node) =>
    node.inputs.filter((_, i) => !(isBf16Product(node) && i === 1)),
  )
  const needed = new Set([...others, ...Object.values(graph.results)])
  return new Set(codes.filter((node) => !needed.has(node)))
}

/**
 * Whether all that is done with an input is to multiply by it from the right or to read its rows.
 */
export function isFactorOrTable(graph: Graph, name: string): boolean {
  return graph.nodes.every((node) =>
    node.inputs.every((x, i) => {
      if (x.op !== "input" || x.label !== name) return true
      return x.rank === 2 && ((isBf16Product(node) && i === 1) || (node.op === "gather" && i === 0))
    }),
  )
}

function isBf16Product(node: Tensor): boolean {
  if (node.op !== "matmul" && node.op !== "gemm") return false
  const { exact, transA } = (node as Tensor<"matmul">).attributes
  return !exact && !transA && node.inputs[1]!.rank === 2
}

/** Rows of a table that is held as panels; undefined for other tables. */
export function rowsOfPanels(
  emit: Emitter,
  inputs: readonly string[],
  { inputs: [table] }: Tensor,
): string | undefined {
  if (!emit.isPacked(table!)) return undefined
  return emit.node("PackedRows", inputs, sizes(table!.shape), OWN_DOMAIN)
}

/** To bfloat16 and back, which ONNX Runtime's own kernels do one number at a time. */
export function ownCast(emit: Emitter, inputs: readonly string[], dtype: DType): string {
  assert(emit.own, "bfloat16 numbers are kept only where operators of our own read them")
  return emit.node(dtype === "bf16" ? "Narrowed" : "Widened", inputs, {}, OWN_DOMAIN)
}

function ownAttributes({ own }: Emitter, node: Tensor<"matmul"> | Tensor<"gemm">) {
  const attributes: Attributes = productAttributes(node.attributes)
  if (own?.bf16 && !node.attributes.exact) return attributes
  return own?.tall && isTall(node) ? { ...attributes, exact: { i: 1 } } : undefined
}

/** One row for all, or the whole result's size. */
function isAddedInPlace(c: Shape, y: Shape): boolean {
  const [rows = 1, columns] = c.length === 2 ? c : [1, ...c]
  return c.length > 0 && columns === y[1] && (rows === 1 || rows === y[0])
}

/** Fewer columns than this and MLAS cuts k into other blocks, which would be other bits. */
const LEAST_SIZE = 256

/** dY^T x of known sizes: a gradient of a weight. */
function isTall({ attributes, inputs, shape }: Tensor<"matmul"> | Tensor<"gemm">): boolean {
  const { transA, transB, alpha } = attributes
  const isGradient = transA && !transB && alpha === 1 && inputs[0]!.rank === 2
  return isGradient && shape.every((dim) => typeof dim === "number" && dim >= LEAST_SIZE)
}
