import { axisOf, type Shape, type Tensor } from "../../../graph/index.ts"
import type { Emitter, LoweringTable } from "../lowering.ts"
import { rowsOfPanels } from "./own-products.ts"

const ints = (emit: Emitter, values: readonly number[]) =>
  emit.constant("i64", [values.length], values)

/** A numeric shape for ONNX's Reshape: at most one named dimension, written -1. */
function reshapeTarget(shape: Shape): number[] {
  return shape.map((dim) => (typeof dim === "number" ? dim : -1))
}

/** WebGPU slices float32 only: whole numbers there take a detour (exact below 2^24). */
function emitSlice(emit: Emitter, node: Tensor, x: string, bounds: readonly string[]): string {
  const whole = node.dtype === "i64" && emit.integers(node) === "i32"
  if (!whole) return emit.node("Slice", [x, ...bounds])
  const real = emit.node("Cast", [x], { to: { i: emit.dataType("f32") } })
  const part = emit.node("Slice", [real, ...bounds])
  return emit.node("Cast", [part], { to: { i: emit.dataType("i64") } })
}

/** Pad without a shape computed on the host: rows gathered where there are any, else 0. */
function padByGather(
  emit: Emitter,
  [x, begin, end]: readonly [string, string, string],
  axis: number,
  rank: number,
  size: number,
): string {
  const one = emit.constant("i32", [1], [1])
  const rows = emit.constant(
    "i32",
    [size],
    Array.from({ length: size }, (_, i) => i),
  )
  const last = emit.node("Sub", [end, one])
  const inside = emit.node("Max", [emit.node("Min", [rows, last]), begin])
  const ids = emit.node("Sub", [inside, begin])
  const gathered = emit.node("Gather", [x, ids], { axis: { i: axis } })
  const shape = Array.from({ length: rank }, (_, i) => (i === axis ? size : 1))
  const within = emit.node("Reshape", [emit.node("Equal", [inside, rows]), ints(emit, shape)])
  return emit.node("Where", [within, gathered, emit.constant("f32", [], [0])])
}

export const layout = {
  reshape: (emit, [x], node) => emit.node("Reshape", [x!, ints(emit, reshapeTarget(node.shape))]),

  transpose: (emit, inputs, node) =>
    emit.node("Transpose", inputs, { perm: { ints: node.attributes.perm } }),

  expand: (emit, [x], node) =>
    emit.node("Expand", [x!, ints(emit, node.shape as readonly number[])]),

  slice: (emit, [x], node) => {
    const { axis, start, end } = node.attributes
    return emitSlice(emit, node, x!, [ints(emit, [start]), ints(emit, [end]), ints(emit, [axis])])
  },

  sliceBy: (emit, [x, begin, end], node) =>
    emitSlice(emit, node, x!, [begin!, end!, ints(emit, [node.attributes.axis])]),

  padBy: (emit, [x, begin, end], { attributes: { axis, size }, rank }) => {
    if (emit.target === "webgpu") {
      return padByGather(emit, [x!, begin!, end!], axisOf(axis, rank), rank, size)
    }
    const after = emit.node("Sub", [ints(emit, [size]), end!])
    const pads = emit.node("Concat", [begin!, after], { axis: { i: 0 } })
    return emit.node("Pad", [x!, pads, "", ints(emit, [axis])])
  },

  concat: (emit, inputs, node) =>
    emit.node("Concat", inputs, { axis: { i: axisOf(node.attributes.axis, node.rank) } }),

  gather: (emit, inputs, node) =>
    rowsOfPanels(emit, inputs, node) ?? emit.node("Gather", inputs, { axis: { i: 0 } }),

  gatherElements: (emit, inputs) => emit.node("GatherElements", inputs, { axis: { i: -1 } }),

  scatterAdd: (emit, [x, ids, rows]) => {
    const column = emit.node("Reshape", [ids!, ints(emit, [-1, 1])])
    // ScatterND takes 64 bits only.
    const index = emit.target === "cpu" ? column : emit.node("Cast", [column], { to: { i: 7 } })
    return emit.node("ScatterND", [x!, index, rows!], { reduction: { s: "add" } })
  },
} satisfies Partial<LoweringTable>
