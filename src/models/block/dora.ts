import type { Tensor } from "../../graph/index.ts"
import type { LayerLora } from "./layer-plan.ts"

/** Below this a row's squared length is taken for it: nothing is divided by zero. */
const LEAST = 1e-30

/** How PEFT calls a module's magnitudes, behind its path. */
export const MAGNITUDE = ".lora_magnitude_vector"
const SQUARES = ".base_squares"

/**
 * What DoRA has beside A and B: magnitudes m [out], and the squared lengths of the base's rows
 * [out].
 */
export function doraNames(module: string) {
  return { magnitude: module + MAGNITUDE, squares: module + SQUARES }
}

/**
 * The base's matrix whose rows' squared lengths a tensor of that name holds; undefined for others.
 */
export function squaredWeight(name: string): string | undefined {
  return name.endsWith(SQUARES) ? `${name.slice(0, -SQUARES.length)}.weight` : undefined
}

/** The tensors beside the trained ones that a layer's graphs take, with their shapes. */
export function doraInputs(
  lora: LayerLora | undefined,
  outFeatures: (module: string) => number,
): Map<string, readonly number[]> {
  const modules = [...(lora?.modules ?? [])].filter(([, { dora }]) => dora)
  return new Map(
    modules.map(([module]) => [doraNames(module).squares, [outFeatures(module)]] as const),
  )
}

/** Squared length of each row of W [out, in], summed in float64. */
export function rowSquares(weight: Float32Array, rows: number): Float32Array {
  const columns = weight.length / rows
  return Float32Array.from({ length: rows }, (_, row) => {
    let sum = 0
    for (let i = row * columns; i < (row + 1) * columns; i++) sum += weight[i]! * weight[i]!
    return sum
  })
}

/**
 * The magnitudes of a new adapter, with which it changes nothing: the lengths of the base's rows.
 */
export const firstMagnitudes = (squares: Float32Array): Float32Array => squares.map(Math.sqrt)

/**
 * DoRA's factor of each output (arXiv 2402.09353, equations 5 and 11):
 *
 *     g = m / |W + s B A|,   |.| over a row's inputs, without a gradient (its section 4.3)
 *
 * The lengths come of |W|^2 + 2 s B (W A^T) + s^2 B (A A^T) B^T, so that W + s B A is never made.
 *
 * @param across A W^T [r, out]
 */
export function doraGain(
  {
    a,
    b,
    magnitude,
    squares,
  }: {
    readonly a: Tensor
    readonly b: Tensor
    readonly magnitude: Tensor
    readonly squares: Tensor
  },
  across: Tensor,
  scale: number,
): Tensor {
  const own = b.matmul(a.matmul(a, { transB: true, exact: true }), { exact: true }) // [out, r]
  const both = across
    .transpose([1, 0])
    .mul(2 * scale)
    .add(own.mul(scale * scale))
  const lengths = squares.add(b.mul(both).sum(1)).max(LEAST).sqrt()
  return magnitude.div(lengths.detach())
}
