import type { LoweringTable } from "../lowering.ts"

export const quantized = {
  dequantize: (emit, [codes, scales, zeros], node) => {
    const { bits, groupSize, inFeatures } = node.attributes
    const [rows, groups] = node.inputs[1]!.shape as [number, number]
    const ints = (...values: number[]) => emit.constant("i64", [values.length], values)
    let wide = codes!
    if (bits === 4) {
      const byte = (value: number) =>
        emit.node("Cast", [ints(value)], { to: { i: emit.dataType("u8") } })
      const low = emit.node("BitwiseAnd", [codes!, byte(15)])
      const high = emit.node("BitShift", [codes!, byte(4)], { direction: { s: "RIGHT" } })
      const column = (half: string) => emit.node("Unsqueeze", [half, ints(2)])
      const pairs = emit.node("Concat", [column(low), column(high)], { axis: { i: 2 } })
      wide = emit.node("Reshape", [pairs, ints(rows, groups * groupSize)])
    }
    const weight = emit.node("DequantizeLinear", [wide, scales!, zeros!], {
      axis: { i: 1 },
      block_size: { i: groupSize },
    })
    if (groups * groupSize === inFeatures) return weight
    return emit.node("Slice", [weight, ints(0), ints(inFeatures), ints(1)])
  },
} satisfies Partial<LoweringTable>
