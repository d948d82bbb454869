import { InputError } from "../../errors.ts"
import { broadcastTo, type NdArray, ndarray, size, strided, strides, walk } from "../ndarray.ts"
import { axisOf, broadcast, expectIds, type Shape, sameShape, shapeText, sizeOf } from "../shape.ts"
import type { OpRow, Tensor } from "../tensor.ts"
import { unbroadcast } from "./elementwise.ts"

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
    gradient: (dy, node, { constant }) => {
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
    gradient: (dy, node, { range }) => {
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
