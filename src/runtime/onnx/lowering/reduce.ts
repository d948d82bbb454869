import type { LoweringTable } from "../lowering.ts"

export const reduce = {
  sum: (emit, [x], { attributes: { axes, keepDims } }) =>
    emit.node("ReduceSum", [x!, emit.constant("i64", [axes.length], axes)], {
      keepdims: { i: keepDims ? 1 : 0 },
    }),

  reduceMax: (emit, [x], { attributes: { axis, keepDims } }) =>
    emit.node("ReduceMax", [x!, emit.constant("i64", [1], [axis])], {
      keepdims: { i: keepDims ? 1 : 0 },
    }),

  argMax: (emit, inputs, { attributes: { axis }, inputs: [x] }) => {
    const columns = x!.shape[x!.rank - 1]!
    if (emit.target === "cpu" || typeof columns === "string") {
      return emit.node("ArgMax", inputs, { axis: { i: axis }, keepdims: { i: 0 } })
    }
    // ArgMax's int64 cannot be narrowed on the device: the first column that has the maximum.
    const last = emit.constant("i64", [1], [-1])
    const top = emit.node("ReduceMax", [inputs[0]!, last], { keepdims: { i: 1 } })
    const column = emit.constant(
      "f32",
      [columns],
      Array.from({ length: columns }, (_, i) => i),
    )
    const hit = emit.node("Equal", [inputs[0]!, top])
    const found = emit.node("Where", [hit, column, emit.constant("f32", [], [columns])])
    const first = emit.node("ReduceMin", [found, last], { keepdims: { i: 0 } })
    return emit.node("Cast", [first], { to: { i: emit.dataType("i64") } })
  },

  topK: (emit, [x], { attributes: { k } }) =>
    emit.node("TopK", [x!, emit.constant("i64", [1], [k])], {}, "", 2),

  softmax: (emit, inputs) => emit.node("Softmax", inputs, { axis: { i: -1 } }),

  rmsNorm: (emit, inputs, { attributes: { eps } }) =>
    emit.node("SimplifiedLayerNormalization", inputs, {
      axis: { i: -1 },
      epsilon: { f: eps },
    }),
} satisfies Partial<LoweringTable>
