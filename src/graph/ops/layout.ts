import { InputError } from "../../errors.ts"
import { broadcastTo, type NdArray, ndarray, size, strided, strides, walk } from "../ndarray.ts"
import type { Emitter } from "../onnx.ts"
import { axisOf, broadcast, expectIds, type Shape, sameShape, shapeText, sizeOf } from "../shape.ts"
import { constant, type OpRow, range, type Tensor } from "../tensor.ts"
import { unbroadcast } from "./elementwise.ts"

const ints = (emit: Emitter, values: readonly number[]) =>
  emit.constant("i64", [values.length], values)

/** A numeric shape for ONNX's Reshape: at most one named dimension, written -1. */
function reshapeTarget(shape: Shape): number[] {
  return shape.map((dim) => (typeof dim === "number" ? dim : -1))
}

/** Part of `x` along one axis, as numbers. */
function section(x: NdArray, axis: number, start: number, end: number): NdArray {
  const shape = x.shape.map((dim, i) => (i === axis ? end - start : dim))
  const steps = strides(x.shape)
  return strided(x, shape, steps, start * steps[axis]!)
}

/** Writes `x` into `into`, from `start` on along one axis. */
function place(into: NdArray, x: NdArray, axis: number, start: number): void {
  const steps = strides(into.shape)
  walk(
    x.shape,
    steps,
    (from, to) => {
      into.data[to] = x.data[from]!
    },
    start * steps[axis]!,
  )
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

function replaceDim(shape: Shape, axis: number, dim: number | string): Shape {
  return shape.map((old, i) => (i === axis ? dim : old))
}

export const layout = {
  reshape: {
    type: ([x], { shape }) => {
      const named = shape.filter((dim) => typeof dim === "string")
      const before = sizeOf(x!.shape)
      const after = sizeOf(shape)
      if (named.length > 1 || before !== after) {
        if (named.length > 1 || (before !== undefined && after !== undefined)) {
          throw new InputError(`cannot take the shape ${shapeText(shape)}`)
        }
      }
      return { dtype: x!.dtype, shape }
    },
    onnx: (emit, [x], node) => emit.node("Reshape", [x!, ints(emit, reshapeTarget(node.shape))]),
    gradient: (dy, node) => [dy.reshape(node.inputs[0]!.shape)],
    evaluate: ([x], node) => {
      const known = node.shape.filter((dim) => typeof dim === "number")
      const rest = x!.data.length / size(known)
      return { shape: node.shape.map((d) => (typeof d === "number" ? d : rest)), data: x!.data }
    },
  } satisfies OpRow<"reshape">,

  transpose: {
    type: ([x], { perm }) => {
      if (perm.length !== x!.rank || [...perm].sort().some((p, i) => p !== i)) {
        throw new InputError(`[${perm}] is no permutation of ${x!.rank} axes`)
      }
      return { dtype: x!.dtype, shape: perm.map((p) => x!.shape[p]!) }
    },
    onnx: (emit, inputs, node) =>
      emit.node("Transpose", inputs, { perm: { ints: node.attributes.perm } }),
    gradient: (dy, { attributes: { perm } }) => [dy.transpose(perm.map((_, i) => perm.indexOf(i)))],
    evaluate: ([x], { attributes: { perm } }) => {
      const step = strides(x!.shape)
      return strided(
        x!,
        perm.map((p) => x!.shape[p]!),
        perm.map((p) => step[p]!),
      )
    },
  } satisfies OpRow<"transpose">,

  expand: {
    type: ([x], { shape }) => {
      if (!sameShape(broadcast(x!.shape, shape), shape)) {
        throw new InputError(`does not broadcast to ${shapeText(shape)}`)
      }
      return { dtype: x!.dtype, shape }
    },
    onnx: (emit, [x], node) =>
      emit.node("Expand", [x!, ints(emit, node.shape as readonly number[])]),
    gradient: (dy, node) => [unbroadcast(dy, node.inputs[0]!)],
    evaluate: ([x], node) => broadcastTo(x!, node.shape as readonly number[]),
  } satisfies OpRow<"expand">,

  slice: {
    type: ([x], { axis, start, end }) => {
      const dim = x!.shape[axisOf(axis, x!.rank)]!
      if (start < 0 || end <= start || (typeof dim === "number" && end > dim)) {
        throw new InputError(`slice ${start}..${end} is outside axis ${axis} of size ${dim}`)
      }
      return { dtype: x!.dtype, shape: replaceDim(x!.shape, axisOf(axis, x!.rank), end - start) }
    },
    onnx: (emit, [x], node) => {
      const { axis, start, end } = node.attributes
      return emitSlice(emit, node, x!, [ints(emit, [start]), ints(emit, [end]), ints(emit, [axis])])
    },
    gradient: (dy, node) => {
      const { start, end } = node.attributes
      const axis = axisOf(node.attributes.axis, node.rank)
      const size = node.inputs[0]!.shape[axis]
      if (typeof size !== "number") throw new Error("slice: no gradient over a named axis")
      const at = (value: number) => constant([value], "i64")
      return [dy.padBy(axis, at(start), at(end), size)]
    },
    evaluate: ([x], { attributes: { axis, start, end } }) =>
      section(x!, axisOf(axis, x!.shape.length), start, end),
  } satisfies OpRow<"slice">,

  sliceBy: {
    type: ([x], { axis, size: name }) => ({
      dtype: x!.dtype,
      shape: replaceDim(x!.shape, axisOf(axis, x!.rank), name),
    }),
    onnx: (emit, [x, begin, end], node) =>
      emitSlice(emit, node, x!, [begin!, end!, ints(emit, [node.attributes.axis])]),
    gradient: (dy, node) => {
      const [x, begin, end] = node.inputs as [Tensor, Tensor, Tensor]
      const axis = axisOf(node.attributes.axis, x.rank)
      const size = x.shape[axis]
      if (typeof size !== "number") throw new Error("sliceBy: no gradient over a named axis")
      return [dy.padBy(axis, begin, end, size), null, null]
    },
    evaluate: ([x, begin, end], { attributes: { axis } }) =>
      section(x!, axisOf(axis, x!.shape.length), begin!.data[0]!, end!.data[0]!),
  } satisfies OpRow<"sliceBy">,

  // Zeros before and after, so that rows begin..end of the result are the input.
  padBy: {
    type: ([x], { axis, size }) => ({
      dtype: x!.dtype,
      shape: replaceDim(x!.shape, axisOf(axis, x!.rank), size),
    }),
    onnx: (emit, [x, begin, end], { attributes: { axis, size }, rank }) => {
      if (emit.device === "webgpu") {
        return padByGather(emit, [x!, begin!, end!], axisOf(axis, rank), rank, size)
      }
      const after = emit.node("Sub", [ints(emit, [size]), end!])
      const pads = emit.node("Concat", [begin!, after], { axis: { i: 0 } })
      return emit.node("Pad", [x!, pads, "", ints(emit, [axis])])
    },
    gradient: (dy, node) => {
      const [x, begin, end] = node.inputs as [Tensor, Tensor, Tensor]
      const name = x.shape[axisOf(node.attributes.axis, x.rank)]!
      const part = dy.sliceBy(node.attributes.axis, begin, end, `${name}`)
      return [typeof name === "number" ? part.reshape(x.shape) : part, null, null]
    },
    evaluate: ([x, begin], { attributes }) => {
      const axis = axisOf(attributes.axis, x!.shape.length)
      const result = ndarray(x!.shape.map((dim, i) => (i === axis ? attributes.size : dim)))
      place(result, x!, axis, begin!.data[0]!)
      return result
    },
  } satisfies OpRow<"padBy">,

  concat: {
    type: (parts, { axis }) => {
      const first = parts[0]!
      const front = axisOf(axis, first.rank)
      const dims = parts.map((part) => part.shape[front]!)
      for (const part of parts) {
        if (!sameShape(replaceDim(part.shape, front, 1), replaceDim(first.shape, front, 1))) {
          throw new InputError(`the parts differ beside axis ${axis}`)
        }
      }
      const known = dims.filter((dim) => typeof dim === "number")
      const total = known.reduce((sum, dim) => sum + dim, 0)
      const name = dims.filter((dim) => typeof dim === "string").join("+")
      return {
        dtype: first.dtype,
        shape: replaceDim(first.shape, front, name ? `${name}+${total}` : total),
      }
    },
    onnx: (emit, inputs, node) =>
      emit.node("Concat", inputs, { axis: { i: axisOf(node.attributes.axis, node.rank) } }),
    gradient: (dy, node) => {
      const axis = axisOf(node.attributes.axis, node.rank)
      let start = 0
      return node.inputs.map((part) => {
        const dim = part.shape[axis]
        if (typeof dim !== "number") throw new Error("concat: no gradient over a named axis")
        start += dim
        return dy.slice(axis, start - dim, start)
      })
    },
    evaluate: (parts, node) => {
      const axis = axisOf(node.attributes.axis, node.rank)
      const shape = parts[0]!.shape.map((dim, i) =>
        i === axis ? parts.reduce((sum, part) => sum + part.shape[axis]!, 0) : dim,
      )
      const result = ndarray(shape)
      let start = 0
      for (const part of parts) {
        place(result, part, axis, start)
        start += part.shape[axis]!
      }
      return result
    },
  } satisfies OpRow<"concat">,

  gather: {
    type: ([x, ids]) => {
      expectIds(ids!)
      return { dtype: x!.dtype, shape: [...ids!.shape, ...x!.shape.slice(1)] }
    },
    onnx: (emit, inputs) => emit.node("Gather", inputs, { axis: { i: 0 } }),
    gradient: (dy, node) => {
      const [x, ids] = node.inputs as [Tensor, Tensor]
      const zeros = x.slice(0, 0, 1).mul(0).expand(x.shape)
      return [zeros.scatterAdd(ids, dy), null]
    },
    evaluate: ([x, ids]) => {
      const row = size(x!.shape.slice(1))
      const result = ndarray([...ids!.shape, ...x!.shape.slice(1)])
      ids!.data.forEach((id, i) => {
        result.data.set(x!.data.subarray(id * row, (id + 1) * row), i * row)
      })
      return result
    },
  } satisfies OpRow<"gather">,

  gatherElements: {
    type: ([x, ids]) => {
      expectIds(ids!)
      if (!sameShape(ids!.shape.slice(0, -1), x!.shape.slice(0, -1))) {
        throw new InputError("expected ids for each row of the first tensor")
      }
      return { dtype: x!.dtype, shape: ids!.shape }
    },
    onnx: (emit, inputs) => emit.node("GatherElements", inputs, { axis: { i: -1 } }),
    gradient: (dy, node) => {
      const [x, ids] = node.inputs as [Tensor, Tensor]
      const columns = x.shape[x.rank - 1]
      if (typeof columns !== "number") throw new Error("gatherElements: the last axis is named")
      if (ids.shape[ids.rank - 1] !== 1) throw new Error("gatherElements: one id a row")
      const hit = range(columns).equal(ids)
      return [hit.where(dy, 0), null]
    },
    evaluate: ([x, ids]) => {
      const columns = x!.shape[x!.shape.length - 1]!
      const width = ids!.shape[ids!.shape.length - 1]!
      const data = ids!.data.map((id, i) => x!.data[Math.floor(i / width) * columns + id]!)
      return { shape: ids!.shape, data }
    },
  } satisfies OpRow<"gatherElements">,

  scatterAdd: {
    type: ([x, ids, rows]) => {
      expectIds(ids!)
      const expected = [...ids!.shape, ...x!.shape.slice(1)]
      if (!sameShape(rows!.shape, expected)) {
        throw new InputError(`expected rows ${shapeText(expected)}`)
      }
      return { dtype: x!.dtype, shape: x!.shape }
    },
    onnx: (emit, [x, ids, rows]) => {
      const column = emit.node("Reshape", [ids!, ints(emit, [-1, 1])])
      // ScatterND takes 64 bits only.
      const index = emit.device === "cpu" ? column : emit.node("Cast", [column], { to: { i: 7 } })
      return emit.node("ScatterND", [x!, index, rows!], { reduction: { s: "add" } })
    },
    gradient: (dy, node) => [dy, null, dy.gather(node.inputs[1]!)],
    evaluate: ([x, ids, rows]) => {
      const row = size(x!.shape.slice(1))
      const data = x!.data.slice()
      ids!.data.forEach((id, i) => {
        for (let c = 0; c < row; c++) data[id * row + c]! += rows!.data[i * row + c]!
      })
      return { shape: x!.shape, data }
    },
  } satisfies OpRow<"scatterAdd">,
}
