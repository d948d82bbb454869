import type { ProductAttributes, Shape, Tensor } from "../../../graph/index.ts"
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
  if (c === undefined) return emit.node("Product", [a, b], attributes, OWN_DOMAIN)
  if (isAddedInPlace(node.inputs[2]!.shape, node.shape)) {
    return emit.node("Product", [a, b, c], attributes, OWN_DOMAIN)
  }
  return emit.node("Add", [emit.node("Product", [a, b], attributes, OWN_DOMAIN), c])
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
