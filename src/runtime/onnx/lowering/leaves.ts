import type { LoweringTable } from "../lowering.ts"

export const leaves = {
  input: (_emit, _inputs, node) => node.attributes.name,

  constant: (emit, _inputs, node) =>
    emit.constant(
      node.dtype === "i64" ? emit.integers(node) : "f32",
      node.shape as readonly number[],
      node.attributes.data,
    ),

  range: (emit, _inputs, node) => {
    const { size } = node.attributes
    return emit.constant(
      emit.integers(node),
      [size],
      Array.from({ length: size }, (_, i) => i),
    )
  },

  composite: (_emit, inputs) => inputs[0]!,
} satisfies Partial<LoweringTable>
