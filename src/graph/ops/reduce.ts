import { InputError } from "../../errors.ts"
import { type NdArray, ndarray, strides, walk } from "../ndarray.ts"
import { axisOf, type Shape } from "../shape.ts"
import type { OpRow, Tensor } from "../tensor.ts"

function reducedShape(shape: Shape, axes: readonly number[], keepDims: boolean): Shape {
  const gone = new Set(axes.map((axis) => axisOf(axis, shape.length)))
  return shape.flatMap((dim, i) => (gone.has(i) ? (keepDims ? [1] : []) : [dim]))
}

/** `shape` with 1 on the reduced axes, so that a reduced tensor broadcasts back. */
const kept = (x: Tensor, axes: readonly number[]) => reducedShape(x.shape, axes, true)

/** Each row along the last axis, mapped to a row or to one number. */
function mapRows(x: NdArray, width: number, f: (row: Float64Array, out: Float64Array) => void) {
  const columns = x.shape[x.shape.length - 1]!
  const result = ndarray([...x.shape.slice(0, -1), width])
  for (let row = 0; row < x.data.length / columns; row++) {
    f(
      x.data.subarray(row * columns, (row + 1) * columns),
      result.data.subarray(row * width, (row + 1) * width),
    )
  }
  return result
}

function argMaxOf(row: Float64Array): number {
  let best = 0
  row.forEach((value, i) => {
    if (value > row[best]!) best = i
  })
  return best
}

function lastAxisOnly(axis: number, rank: number, op: string): void {
  if (axisOf(axis, rank) !== rank - 1) throw new InputError(`${op} works on the last axis only`)
}

export const reduce = {
  sum: {
    type: ([x], { axes, keepDims }) => ({
      dtype: x!.dtype,
      shape: reducedShape(x!.shape, axes, keepDims),
    }),
    gradient: (dy, node) => {
      const x = node.inputs[0]!
      // A named dimension cannot be written into Expand; adding zeros broadcasts all the same.
      return [dy.reshape(kept(x, node.attributes.axes)).add(x.detach().mul(0))]
    },
    evaluate: ([x], { attributes: { axes, keepDims } }) => {
      const rank = x!.shape.length
      const gone = new Set(axes.map((axis) => axisOf(axis, rank)))
      const keptShape = x!.shape.map((dim, i) => (gone.has(i) ? 1 : dim))
      const result = ndarray(keptShape)
      const steps = strides(keptShape).map((step, i) => (gone.has(i) ? 0 : step))
      walk(x!.shape, steps, (from, to) => {
        result.data[to]! += x!.data[from]!
      })
      const shape = keepDims ? keptShape : x!.shape.filter((_, i) => !gone.has(i))
      return { shape, data: result.data }
    },
  } satisfies OpRow<"sum">,

  reduceMax: {
    type: ([x], { axis, keepDims }) => {
      lastAxisOnly(axis, x!.rank, "reduceMax")
      return { dtype: x!.dtype, shape: reducedShape(x!.shape, [axis], keepDims) }
    },
    // Shared among equal maxima would be a choice too; all of them get it, as a sum of hits.
    gradient: (dy, node) => {
      const x = node.inputs[0]!
      const shape = kept(x, [node.attributes.axis])
      return [dy.reshape(shape).mul(x.equal(node.reshape(shape)).cast("f32"))]
    },
    evaluate: ([x], { attributes: { keepDims } }) => {
      const result = mapRows(x!, 1, (row, out) => {
        out[0] = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
      })
      return keepDims ? result : { shape: result.shape.slice(0, -1), data: result.data }
    },
  } satisfies OpRow<"reduceMax">,

  argMax: {
    type: ([x], { axis }) => {
      lastAxisOnly(axis, x!.rank, "argMax")
      return { dtype: "i64", shape: reducedShape(x!.shape, [axis], false) }
    },
    gradient: () => [null],
    evaluate: ([x]) => {
      const result = mapRows(x!, 1, (row, out) => {
        out[0] = argMaxOf(row)
      })
      return { shape: result.shape.slice(0, -1), data: result.data }
    },
  } satisfies OpRow<"argMax">,

  topK: {
    type: ([x], { k }) => {
      const dim = x!.shape[x!.rank - 1]!
      if (typeof dim === "number" && k > dim) throw new InputError(`k = ${k} of ${dim} values`)
      return { dtype: x!.dtype, shape: [...x!.shape.slice(0, -1), k] }
    },
    gradient: () => {
      throw new InputError("topK has no gradient: detach its result")
    },
    evaluate: ([x], { attributes: { k } }) =>
      mapRows(x!, k, (row, out) =>
        out.set(
          row
            .slice()
            .sort((a, b) => b - a)
            .subarray(0, k),
        ),
      ),
  } satisfies OpRow<"topK">,

  softmax: {
    type: ([x]) => ({ dtype: x!.dtype, shape: x!.shape }),
    gradient: (dy, y) => [dy.sub(dy.mul(y).sum(-1, { keepDims: true })).mul(y)],
    evaluate: ([x]) =>
      mapRows(x!, x!.shape[x!.shape.length - 1]!, (row, out) => {
        const top = row.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
        let total = 0
        row.forEach((value, i) => {
          out[i] = Math.exp(value - top)
          total += out[i]!
        })
        for (let i = 0; i < out.length; i++) out[i]! /= total
      }),
  } satisfies OpRow<"softmax">,

  rmsNorm: {
    type: ([x, weight]) => {
      if (weight!.rank !== 1 || weight!.shape[0] !== x!.shape[x!.rank - 1]) {
        throw new InputError("the weight must have one number per channel")
      }
      return { dtype: x!.dtype, shape: x!.shape }
    },
    // With r = 1 / sqrt(mean x^2 + eps) and g = dy * weight:  dx = r g - x r^3 mean(g x)
    gradient: (dy, node, { constant }) => {
      const [x, weight] = node.inputs as [Tensor, Tensor]
      const channels = x.shape[x.rank - 1] as number
      const r = x
        .mul(x)
        .sum(-1, { keepDims: true })
        .mul(1 / channels)
        .add(node.attributes.eps)
      const scale = constant(1).div(r.sqrt())
      const normed = x.mul(scale)
      const g = dy.mul(weight)
      const projection = g
        .mul(normed)
        .sum(-1, { keepDims: true })
        .mul(1 / channels)
      const axes = x.shape.slice(0, -1).map((_, i) => i)
      return [g.sub(normed.mul(projection)).mul(scale), dy.mul(normed).sum(axes)]
    },
    evaluate: ([x, weight], { attributes: { eps } }) =>
      mapRows(x!, weight!.data.length, (row, out) => {
        const mean = row.reduce((sum, value) => sum + value * value, 0) / row.length
        row.forEach((value, i) => {
          out[i] = (value / Math.sqrt(mean + eps)) * weight!.data[i]!
        })
      }),
  } satisfies OpRow<"rmsNorm">,
}
