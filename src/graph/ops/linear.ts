import { InputError } from "../../run/errors.ts"
import { at, broadcastShapes, fill, type NdArray } from "../ndarray.ts"
import { broadcast, type Shape } from "../shape.ts"
import type { OpRow, Tensor } from "../tensor.ts"
import { unbroadcast } from "./elementwise.ts"

interface Product {
  readonly transA: boolean
  readonly transB: boolean
  readonly alpha: number
}

const lastTwo = <T>(shape: readonly T[], transposed: boolean): [T, T] => {
  const [rows, columns] = shape.slice(-2) as [T, T]
  return transposed ? [columns, rows] : [rows, columns]
}

function productShape(a: Tensor, b: Tensor, { transA, transB }: Product): Shape {
  if (a.rank < 2 || b.rank < 2) throw new InputError("a product needs two axes on each side")
  const [rows, inner] = lastTwo(a.shape, transA)
  const [innerB, columns] = lastTwo(b.shape, transB)
  if (inner !== innerB) throw new InputError(`the inner sizes ${inner} and ${innerB} differ`)
  return [...broadcast(a.shape.slice(0, -2), b.shape.slice(0, -2)), rows, columns]
}

function product(a: NdArray, b: NdArray, { transA, transB, alpha }: Product): NdArray {
  const [rows, inner] = lastTwo(a.shape, transA)
  const [, columns] = lastTwo(b.shape, transB)
  const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2))
  return fill([...batch, rows, columns], (index) => {
    const lead = index.slice(0, -2)
    const [row, column] = index.slice(-2) as [number, number]
    let sum = 0
    for (let k = 0; k < inner; k++) {
      const left = at(a, transA ? [...lead, k, row] : [...lead, row, k])
      const right = at(b, transB ? [...lead, column, k] : [...lead, k, column])
      sum += left * right
    }
    return alpha * sum
  })
}

/** Y = alpha op(A) op(B):  dA and dB are products again, transposed where A and B were. */
function productGradient(dy: Tensor, a: Tensor, b: Tensor, { transA, transB, alpha }: Product) {
  const da = transA
    ? b.matmul(dy, { transA: transB, transB: true, alpha })
    : dy.matmul(b, { transB: !transB, alpha })
  const db = transB
    ? dy.matmul(a, { transA: true, transB: transA, alpha })
    : a.matmul(dy, { transA: !transA, alpha })
  return [unbroadcast(da, a), unbroadcast(db, b)] as const
}

const gemmAttributes = ({ transA, transB, alpha }: Product) => ({
  transA: { i: transA ? 1 : 0 },
  transB: { i: transB ? 1 : 0 },
  alpha: { f: alpha },
})

export const linear = {
  matmul: {
    type: ([a, b], attributes) => ({
      dtype: a!.dtype,
      shape: productShape(a!, b!, attributes),
    }),
    onnx: (emit, inputs, node) => {
      const { transA, transB, alpha } = node.attributes
      const [a, b] = node.inputs as [Tensor, Tensor]
      if (a.rank === 2 && b.rank === 2) {
        return emit.node("Gemm", inputs, gemmAttributes(node.attributes))
      }
      if (emit.device === "cpu") {
        return emit.node("FusedMatMul", inputs, gemmAttributes(node.attributes), "com.microsoft")
      }
      // Not on WebGPU: transpose, multiply, scale.
      const swapped = (name: string, x: Tensor, transposed: boolean) => {
        if (!transposed) return name
        const perm = x.shape.map((_, i) => i)
        perm.splice(-2, 2, x.rank - 1, x.rank - 2)
        return emit.node("Transpose", [name], { perm: { ints: perm } })
      }
      const y = emit.node("MatMul", [
        swapped(inputs[0]!, a, transA),
        swapped(inputs[1]!, b, transB),
      ])
      return alpha === 1 ? y : emit.node("Mul", [y, emit.constant("f32", [], [alpha])])
    },
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
    onnx: (emit, inputs, node) => emit.node("Gemm", inputs, gemmAttributes(node.attributes)),
    gradient: (dy, node) => {
      const [a, b, c] = node.inputs as [Tensor, Tensor, Tensor]
      return [...productGradient(dy, a, b, node.attributes), unbroadcast(dy, c)]
    },
    evaluate: ([a, b, c], node) => {
      const y = product(a!, b!, node.attributes)
      return fill(y.shape, (index) => at(y, index) + at(c!, index))
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
    onnx: (emit, [x, cos, sin], node) => {
      const [, heads, headDim] = node.shape as [unknown, number, number]
      const flat = emit.node("Reshape", [x!, emit.constant("i64", [3], [1, -1, heads * headDim])])
      const first = emit.constant("i64", [1], [0])
      const y = emit.node(
        "RotaryEmbedding",
        [flat, first, cos!, sin!],
        { num_heads: { i: heads }, interleaved: { i: 0 } },
        "com.microsoft",
      )
      return emit.node("Reshape", [y, emit.constant("i64", [3], [-1, heads, headDim])])
    },
    // A rotation: its transpose is the rotation back.
    gradient: (dy, node) => {
      const [, cos, sin] = node.inputs as [Tensor, Tensor, Tensor]
      return [dy.rotary(cos, sin.neg()), null, null]
    },
    evaluate: ([x, cos, sin]) => {
      const half = cos!.shape[1]!
      return fill(x!.shape, ([t, h, d]) => {
        const i = d! % half
        const other = at(x!, [t!, h!, d! < half ? d! + half : d! - half])
        const sign = d! < half ? -1 : 1
        return at(x!, [t!, h!, d!]) * at(cos!, [t!, i]) + sign * other * at(sin!, [t!, i])
      })
    },
  } satisfies OpRow<"rotary">,
}
