import { InputError } from "../../errors.ts"
import { broadcastShapes, broadcastTo, elementwise, type NdArray, ndarray } from "../ndarray.ts"
import { broadcast, expectType, type Shape } from "../shape.ts"
import type { OpRow, ProductAttributes, Tensor } from "../tensor.ts"
import { unbroadcast } from "./elementwise.ts"

const lastTwo = <T>(shape: readonly T[], transposed: boolean): [T, T] => {
  const [rows, columns] = shape.slice(-2) as [T, T]
  return transposed ? [columns, rows] : [rows, columns]
}

function productShape(a: Tensor, b: Tensor, { transA, transB }: ProductAttributes): Shape {
  for (const x of [a, b]) expectType(x, "f32")
  if (a.rank < 2 || b.rank < 2) throw new InputError("a product needs two axes on each side")
  const [rows, inner] = lastTwo(a.shape, transA)
  const [innerB, columns] = lastTwo(b.shape, transB)
  if (inner !== innerB) throw new InputError(`the inner sizes ${inner} and ${innerB} differ`)
  return [...broadcast(a.shape.slice(0, -2), b.shape.slice(0, -2)), rows, columns]
}

function product(a: NdArray, b: NdArray, { transA, transB, alpha }: ProductAttributes): NdArray {
  const [rows, inner] = lastTwo(a.shape, transA)
  const [, columns] = lastTwo(b.shape, transB)
  const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2))
  const left = broadcastTo(a, [...batch, ...a.shape.slice(-2)]).data
  const right = broadcastTo(b, [...batch, ...b.shape.slice(-2)]).data
  const result = ndarray([...batch, rows, columns])
  const [leftRow, leftInner] = transA ? [1, rows] : [inner, 1]
  const [rightInner, rightColumn] = transB ? [1, inner] : [columns, 1]
  let [atLeft, atRight] = [0, 0]
  for (let out = 0; out < result.data.length; out += rows * columns) {
    for (let row = 0; row < rows; row++) {
      for (let k = 0; k < inner; k++) {
        const factor = alpha * left[atLeft + row * leftRow + k * leftInner]!
        const from = atRight + k * rightInner
        const to = out + row * columns
        for (let column = 0; column < columns; column++) {
          result.data[to + column]! += factor * right[from + column * rightColumn]!
        }
      }
    }
    atLeft += rows * inner
    atRight += inner * columns
  }
  return result
}

/** Y = alpha op(A) op(B):  dA and dB are products again, transposed where A and B were. */
function productGradient(
  dy: Tensor,
  a: Tensor,
  b: Tensor,
  { transA, transB, ...kept }: ProductAttributes,
) {
  const da = transA
    ? b.matmul(dy, { transA: transB, transB: true, ...kept })
    : dy.matmul(b, { transB: !transB, ...kept })
  const db = transB
    ? dy.matmul(a, { transA: true, transB: transA, ...kept })
    : a.matmul(dy, { transA: !transA, ...kept })
  return [unbroadcast(da, a), unbroadcast(db, b)] as const
}

export const linear = {
  matmul: {
    type: ([a, b], attributes) => ({
      dtype: a!.dtype,
      shape: productShape(a!, b!, attributes),
    }),
    gradient: (dy, node) => {
      const [a, b] = node.inputs as [Tensor, Tensor]
      return productGradient(dy, a, b, node.attributes)
    },
    evaluate: ([a, b], node) => product(a!, b!, node.attributes),
  } satisfies OpRow<"matmul">,

  gemm: {
    type: ([a, b, c], attributes) => ({
      dtype: a!.dtype,
      shape: broadcast(productShape(a!, b!, attributes), c!.shape),
    }),
    gradient: (dy, node) => {
      const [a, b, c] = node.inputs as [Tensor, Tensor, Tensor]
      return [...productGradient(dy, a, b, node.attributes), unbroadcast(dy, c)]
    },
    evaluate: ([a, b, c], node) => {
      return elementwise((x, y) => x + y, product(a!, b!, node.attributes), c!)
    },
  } satisfies OpRow<"gemm">,

  rotary: {
    type: ([x, cos]) => {
      const [tokens, , headDim] = x!.shape
      if (x!.rank !== 3 || cos!.shape[0] !== tokens || Number(cos!.shape[1]) * 2 !== headDim) {
        throw new InputError("expected x [T, H, D] with cos and sin [T, D/2]")
      }
      return { dtype: x!.dtype, shape: x!.shape }
    },
    // A rotation: its transpose is the rotation back.
    gradient: (dy, node) => {
      const [, cos, sin] = node.inputs as [Tensor, Tensor, Tensor]
      return [dy.rotary(cos, sin.neg()), null, null]
    },
    evaluate: ([x, cos, sin]) => {
      const [tokens, heads, headDim] = x!.shape as [number, number, number]
      const half = headDim / 2
      const result = ndarray(x!.shape)
      for (let t = 0; t < tokens; t++) {
        for (let h = 0; h < heads; h++) {
          const row = (t * heads + h) * headDim
          for (let i = 0; i < half; i++) {
            const [a, b] = [x!.data[row + i]!, x!.data[row + half + i]!]
            const [c, s] = [cos!.data[t * half + i]!, sin!.data[t * half + i]!]
            result.data[row + i] = a * c - b * s
            result.data[row + half + i] = b * c + a * s
          }
        }
      }
      return result
    },
  } satisfies OpRow<"rotary">,
}
