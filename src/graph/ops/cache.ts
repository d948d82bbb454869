import { InputError } from "../../errors.ts"
import { type NdArray, ndarray } from "../ndarray.ts"
import type { Dim, Shape } from "../shape.ts"
import type { OpRow, Tensor } from "../tensor.ts"

/**
 * Attention over a key-value cache. B sequences, S new tokens of each (R = B S rows), P places in
 * the cache. Inputs, in this order:
 *
 *     q [R, H D], k and v [R, K D], pastKeys and pastValues [B, K, P, D],
 *     last i32 [B]: the place of each sequence's last new token; total i32 [1]: the largest of them + 1
 *
 * gives [B, S, H D]. A new token at place p sees the places 0 .. p of its own sequence, with a
 * `window` the last that many of them. Scaled products s become softcap * tanh(s / softcap) under a
 * cap. Keys come rotated: ONNX Runtime would do it here, but only for heads of a multiple of 16.
 */

interface Sizes {
  readonly batch: number
  readonly steps: number
  readonly heads: number
  readonly kvHeads: number
  readonly places: number
  readonly headDim: number
}

function sizes(q: NdArray, past: NdArray): Sizes {
  const [batch, kvHeads, places, headDim] = past.shape as [number, number, number, number]
  const [rows, width] = q.shape as [number, number]
  return { batch, kvHeads, places, headDim, steps: rows / batch, heads: width / headDim }
}

/** S where R and B are known, else a name for it. */
export function stepsOf(rows: Dim, batch: Dim): Dim {
  return typeof rows === "number" && typeof batch === "number" ? rows / batch : "steps"
}

function checkShapes([q, k, v, keys, values]: readonly Tensor[]): Shape {
  const [batch, kvHeads, , headDim] = keys!.shape as [Dim, number, unknown, number]
  const [rows, width] = q!.shape as [Dim, number]
  const steps = stepsOf(rows, batch)
  const fits =
    keys!.rank === 4 &&
    `${values!.shape}` === `${keys!.shape}` &&
    (typeof steps === "string" || Number.isInteger(steps)) &&
    width % (headDim * kvHeads) === 0 &&
    `${k!.shape}` === `${[rows, kvHeads * headDim]}` &&
    `${v!.shape}` === `${k!.shape}`
  if (!fits) {
    throw new InputError("expected q [B S, H D], k and v [B S, K D] and a cache [B, K, P, D]")
  }
  return [batch, steps, width]
}

/** `past` with the new rows [R, K D] at their places. */
function written(past: NdArray, rows: NdArray, last: NdArray): NdArray {
  const [batch, kvHeads, places, headDim] = past.shape as [number, number, number, number]
  const steps = rows.shape[0]! / batch
  const result = ndarray(past.shape, past.data)
  for (let b = 0; b < batch; b++) {
    for (let s = 0; s < steps; s++) {
      const place = last.data[b]! - steps + 1 + s
      for (let h = 0; h < kvHeads; h++) {
        const from = ((b * steps + s) * kvHeads + h) * headDim
        const row = rows.data.subarray(from, from + headDim)
        result.data.set(row, ((b * kvHeads + h) * places + place) * headDim)
      }
    }
  }
  return result
}

type CachedAttention = Tensor<"cachedAttention">["attributes"]

function attend(inputs: readonly NdArray[], attributes: CachedAttention): NdArray {
  const [q, k, v, pastKeys, pastValues, last] = inputs
  const { steps, batch, heads, kvHeads, places, headDim } = sizes(q!, pastKeys!)
  const keys = written(pastKeys!, k!, last!).data
  const values = written(pastValues!, v!, last!).data
  const result = ndarray([batch, steps, heads * headDim])
  const { scale = 1 / Math.sqrt(headDim), softcap, window = Number.POSITIVE_INFINITY } = attributes
  const cap = (s: number) => (softcap === undefined ? s : softcap * Math.tanh(s / softcap))
  for (let row = 0; row < batch * steps; row++) {
    const b = Math.floor(row / steps)
    const place = last!.data[b]! - steps + 1 + (row % steps)
    for (let h = 0; h < heads; h++) {
      const at = (row * heads + h) * headDim
      const query = q!.data.subarray(at, at + headDim)
      const start = (b * kvHeads + Math.floor((h * kvHeads) / heads)) * places * headDim
      const scores = new Float64Array(place + 1).map((_, t) => {
        if (place - t >= window) return Number.NEGATIVE_INFINITY
        let sum = 0
        for (let d = 0; d < headDim; d++) sum += query[d]! * keys[start + t * headDim + d]!
        return cap(sum * scale)
      })
      const top = Math.max(...scores)
      const weights = scores.map((score) => Math.exp(score - top))
      const total = weights.reduce((sum, w) => sum + w, 0)
      weights.forEach((w, t) => {
        for (let d = 0; d < headDim; d++) {
          result.data[at + d]! += (w / total) * values[start + t * headDim + d]!
        }
      })
    }
  }
  return result
}

export const cache = {
  cachedAttention: {
    type: (inputs) => ({ dtype: "f32", shape: checkShapes(inputs) }),
    gradient: (_dy, node) => node.inputs.map(() => null),
    evaluate: (inputs, { attributes }) => attend(inputs, attributes),
  } satisfies OpRow<"cachedAttention">,

  // The cache after the new rows: the attention node writes it, so that node is the first input.
  cacheAfter: {
    type: ([, past]) => ({ dtype: "f32", shape: past!.shape }),
    gradient: (_dy, node) => node.inputs.map(() => null),
    evaluate: ([, past, rows, last]) => written(past!, rows!, last!),
  } satisfies OpRow<"cacheAfter">,
}
