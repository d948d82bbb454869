import { assert, InputError } from "../../errors.ts"
import { float32, type HostTensor } from "../../runtime/index.ts"
import { decoderParameters, elementCount, linearWeights } from "../block/parameters.ts"
import type { DecoderShape } from "../families/shape.ts"

/** `int8` or `int4` weights with one float32 scale per group of inputs of an output. */
export interface QuantizeOptions {
  readonly bits: 4 | 8
  /** Consecutive inputs that share a scale: 32, 64 or 128. */
  readonly groupSize?: number
  /** Symmetric: zero is the middle code and no zero points are stored. */
  readonly symmetric?: boolean
}

/**
 * A linear weight [out, in] in the layout that ONNX Runtime's `com.microsoft.MatMulNBits` takes
 * (and, seen as [out, groups, groupSize], `DequantizeLinear` with blocks along the last axis):
 *
 *     w[o, i] = (code[o, i] - zero[o, g]) * scale[o, g],   g = floor(i / groupSize)
 *
 * Four-bit codes lie two in a byte, the first in the low half. The last group of a row is padded
 * with codes for zero when groupSize does not divide `in`.
 */
export interface QuantizedMatrix {
  readonly bits: 4 | 8
  readonly groupSize: number
  readonly outFeatures: number
  readonly inFeatures: number
  /** ceil(in / groupSize). */
  readonly groups: number
  /** [out, groups, groupSize * bits / 8]. */
  readonly codes: Uint8Array
  /** [out, groups]. */
  readonly scales: Float32Array
  /** [out, ceil(groups * bits / 8)], packed as the codes; undefined: every zero is 2^(bits-1). */
  readonly zeroPoints: Uint8Array | undefined
}

const GROUP_SIZES: readonly number[] = [32, 64, 128]
export const DEFAULT_GROUP_SIZE = 64

interface Grid {
  readonly scale: number
  readonly zero: number
}

/** The element of largest magnitude gets the one code that has no opposite, so none is clipped. */
function symmetricGrid(low: number, high: number, bits: number): Grid {
  const zero = 2 ** (bits - 1)
  return { scale: Math.fround(-(high > -low ? high : low) / zero), zero }
}

/** The group's range, stretched to hold zero, over all codes. */
function asymmetricGrid(low: number, high: number, bits: number): Grid {
  const steps = 2 ** bits - 1
  const scale = Math.fround((high - low) / steps)
  return { scale, zero: scale === 0 ? 0 : Math.min(steps, Math.round(-low / scale)) }
}

function writeCode(target: Uint8Array, index: number, code: number, bits: number): void {
  if (bits === 8) target[index] = code
  else target[index >> 1]! |= code << ((index & 1) * 4)
}

function readCode(source: Uint8Array, index: number, bits: number): number {
  return bits === 8 ? source[index]! : (source[index >> 1]! >> ((index & 1) * 4)) & 15
}

const bytesOf = (codes: number, bits: number): number => Math.ceil((codes * bits) / 8)

/**
 * Rounds each group to the nearest of its 2^bits values. The error of an element is at most half
 * its group's scale (symmetric: a whole scale for values opposite to the extreme one).
 *
 * @param weight [out, in], row major
 * @throws InputError for a group size that the kernels do not take, or a weight that is not finite
 */
export function quantizeMatrix(
  weight: Float32Array,
  { outFeatures, inFeatures }: { readonly outFeatures: number; readonly inFeatures: number },
  { bits, groupSize = DEFAULT_GROUP_SIZE, symmetric = false }: QuantizeOptions,
): QuantizedMatrix {
  if (!GROUP_SIZES.includes(groupSize)) {
    throw new InputError(
      `quantization: expected a group size of ${GROUP_SIZES.join(", ")}, got ${groupSize}`,
    )
  }
  assert(weight.length === outFeatures * inFeatures, "quantizeMatrix: the weight is not [out, in]")
  const groups = Math.ceil(inFeatures / groupSize)
  const codes = new Uint8Array(outFeatures * groups * bytesOf(groupSize, bits))
  const scales = new Float32Array(outFeatures * groups)
  const zeroBytes = bytesOf(groups, bits)
  const zeroPoints = symmetric ? undefined : new Uint8Array(outFeatures * zeroBytes)
  const gridOf = symmetric ? symmetricGrid : asymmetricGrid
  const last = 2 ** bits - 1
  const rounded = new Uint8ClampedArray(groupSize) // storing rounds to nearest, and bounds
  for (let o = 0; o < outFeatures; o++) {
    for (let g = 0; g < groups; g++) {
      const from = o * inFeatures + g * groupSize
      const to = Math.min(from + groupSize, (o + 1) * inFeatures)
      let low = 0
      let high = 0
      for (let i = from; i < to; i++) {
        low = Math.min(low, weight[i]!) // NaN stays
        high = Math.max(high, weight[i]!)
      }
      const { scale, zero } = gridOf(low, high, bits)
      if (!Number.isFinite(scale)) {
        throw new InputError(
          `quantization: a weight in row ${o}, inputs ${g * groupSize} on, is not finite`,
        )
      }
      scales[o * groups + g] = scale
      if (zeroPoints) writeCode(zeroPoints, o * zeroBytes * (8 / bits) + g, zero, bits)
      const inverse = scale === 0 ? 0 : 1 / scale
      rounded.fill(zero)
      for (let i = from; i < to; i++) rounded[i - from] = weight[i]! * inverse + zero
      const base = (o * groups + g) * bytesOf(groupSize, bits)
      if (bits === 8) codes.set(rounded, base)
      else {
        for (let i = 0; i < groupSize; i += 2) {
          const [first, second] = [Math.min(last, rounded[i]!), Math.min(last, rounded[i + 1]!)]
          codes[base + i / 2] = first | (second << 4)
        }
      }
    }
  }
  return { bits, groupSize, outFeatures, inFeatures, groups, codes, scales, zeroPoints }
}

/** The weight [out, in] that the codes stand for. */
export function dequantizeMatrix(matrix: QuantizedMatrix): Float32Array {
  const { outFeatures, inFeatures } = matrix
  const weight = new Float32Array(outFeatures * inFeatures)
  return dequantizeTensors(quantizedTensors(matrix), matrix, weight)
}

/** The same of the tensors that a block's graph takes, into an array of its size. */
export function dequantizeTensors(
  { codes, scales, zeros }: QuantizedTensors,
  { bits, groupSize = DEFAULT_GROUP_SIZE }: QuantizeOptions,
  into: Float32Array,
): Float32Array {
  const [outFeatures, groups] = scales.shape as [number, number]
  const inFeatures = into.length / outFeatures
  const [all, scaleOf, zeroOf] = [codes.data, scales.data, zeros.data] as [
    Uint8Array,
    Float32Array,
    Uint8Array,
  ]
  for (let row = 0; row < outFeatures; row++) {
    for (let g = 0; g < groups; g++) {
      const group = row * groups + g
      const [scale, zero] = [scaleOf[group]!, zeroOf[group]!]
      const first = row * inFeatures + g * groupSize
      const count = Math.min(groupSize, inFeatures - g * groupSize)
      for (let i = 0; i < count; i++) {
        into[first + i] = (readCode(all, group * groupSize + i, bits) - zero) * scale
      }
    }
  }
  return into
}

/**
 * Bytes per weight as the engine holds it: the code, and for each group a float32 scale and a zero
 * point of a byte (int4 in groups of 64: 0.578; int8: 1.078; float32: 4).
 */
export function quantizedBytesPerWeight({ bits, groupSize = DEFAULT_GROUP_SIZE }: QuantizeOptions) {
  return bits / 8 + 5 / groupSize
}

/** A quantised weight as a block's graph takes it, zero points one a byte. */
export interface QuantizedTensors {
  readonly codes: HostTensor
  readonly scales: HostTensor
  readonly zeros: HostTensor
}

export function quantizedTensors(matrix: QuantizedMatrix): QuantizedTensors {
  const { bits, groupSize, outFeatures, groups, codes, scales, zeroPoints } = matrix
  const zeros = new Uint8Array(outFeatures * groups).fill(2 ** (bits - 1))
  if (zeroPoints) {
    const rowBytes = bytesOf(groups, bits)
    for (let o = 0; o < outFeatures; o++) {
      const row = zeroPoints.subarray(o * rowBytes)
      for (let g = 0; g < groups; g++) zeros[o * groups + g] = readCode(row, g, bits)
    }
  }
  const width = (groups * groupSize * bits) / 8
  return {
    codes: { dtype: "u8", shape: [outFeatures, width], data: codes },
    scales: float32([outFeatures, groups], scales),
    zeros: { dtype: "u8", shape: [outFeatures, groups], data: zeros },
  }
}

/**
 * Bytes of a model whose blocks' linear weights are quantised, as they are fed; other matrices take
 * `matrixBytes` a number, the rest is float32.
 */
export function quantizedModelBytes(
  shape: DecoderShape,
  options: QuantizeOptions,
  matrixBytes = 4,
): number {
  const { groupSize = DEFAULT_GROUP_SIZE } = options
  const linears = linearWeights(shape)
  return decoderParameters(shape).reduce((sum, { name, shape }) => {
    if (!linears.has(name)) {
      return sum + elementCount(shape) * (shape.length === 2 ? matrixBytes : 4)
    }
    const [outFeatures, inFeatures] = shape as [number, number]
    const filled = Math.ceil(inFeatures / groupSize) * groupSize
    return sum + Math.ceil(outFeatures * filled * quantizedBytesPerWeight(options))
  }, 0)
}
