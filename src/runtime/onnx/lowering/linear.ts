import type { Tensor } from "../../../graph/index.ts"
import type { LoweringTable } from "../lowering.ts"
import { ownProduct, productAttributes } from "./own-products.ts"

export const linear = {
  matmul: (emit, inputs, node) => {
    const own = ownProduct(emit, inputs, node)
    if (own) return own
    const { transA, transB, alpha } = node.attributes
    const [a, b] = node.inputs as [Tensor, Tensor]
    if (a.rank === 2 && b.rank === 2) {
      return emit.node("Gemm", inputs, productAttributes(node.attributes))
    }
    if (emit.target === "cpu") {
      return emit.node("FusedMatMul", inputs, productAttributes(node.attributes), "com.microsoft")
    }
    // Not on WebGPU: transpose, multiply, scale.
    const swapped = (name: string, x: Tensor, transposed: boolean) => {
      if (!transposed) return name
      const perm = x.shape.map((_, i) => i)
      perm.splice(-2, 2, x.rank - 1, x.rank - 2)
      return emit.node("Transpose", [name], { perm: { ints: perm } })
    }
    const y = emit.node("MatMul", [swapped(inputs[0]!, a, transA), swapped(inputs[1]!, b, transB)])
    return alpha === 1 ? y : emit.node("Mul", [y, emit.constant("f32", [], [alpha])])
  },

  gemm: (emit, inputs, node) =>
    ownProduct(emit, inputs, node) ?? emit.node("Gemm", inputs, productAttributes(node.attributes)),

  rotary: (emit, [x, cos, sin], node) => {
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
} satisfies Partial<LoweringTable>
