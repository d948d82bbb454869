import { f16ToFloat32, float32ToF16 } from "./float.ts"

/** Values of a super-block. */
const SIZE = 256

const HALF = new Uint16Array(1)
const SINGLE = new Float32Array(1)

/** Writes a number in half precision, and returns what that is. */
function writeHalf(view: DataView, at: number, value: number): number {
  SINGLE[0] = value
  float32ToF16(SINGLE, HALF)
  view.setUint16(at, HALF[0]!, true)
  return f16ToFloat32(HALF, SINGLE)[0]!
}

const clamp = (x: number, low: number, high: number): number => Math.min(high, Math.max(low, x))
/** x in steps, to the nearest; 0 where a step is too small to be one. */
const steps = (x: number, step: number): number => (step === 0 ? 0 : Math.round(x / step))

/** What encodes a super-block of values from `from` on into bytes from `at` on. */
type Encoder = (values: Float32Array, from: number, out: Uint8Array, at: number) => void

function encoder(bytes: number, encode: Encoder) {
  return (values: Float32Array): Uint8Array => {
    const blocks = values.length / SIZE
    const out = new Uint8Array(blocks * bytes)
    for (let i = 0; i < blocks; i++) encode(values, i * SIZE, out, i * bytes)
    return out
  }
}

const viewOf = (out: Uint8Array): DataView =>
  new DataView(out.buffer, out.byteOffset, out.byteLength)

/**
 * 0, or not a number where a scale is none: then the whole block is none, and reading back finds
 * it.
 */
const faultOf = (scales: Float64Array): number =>
  scales.every((scale) => Number.isFinite(scale)) ? 0 : Number.NaN

/**
 * Q4_K and Q5_K: eight groups of 32, x = d s code - dmin m with s and m of six bits. A group's
 * range, stretched to hold zero, is cut into 2^bits - 1 steps; codes are of the scales as they were
 * rounded.
 */
const withMinima = (bits: 4 | 5): Encoder => {
  const most = 2 ** bits - 1
  return (values, from, out, at) => {
    const view = viewOf(out)
    const [scales, minima] = [new Float64Array(8), new Float64Array(8)]
    for (let g = 0; g < 8; g++) {
      const group = values.subarray(from + 32 * g, from + 32 * (g + 1))
      const low = Math.min(0, ...group)
      scales[g] = (Math.max(0, ...group) - low) / most
      minima[g] = -low
    }
    const fault = faultOf(scales)
    const d = writeHalf(view, at, Math.max(...scales) / 63 + fault)
    const dmin = writeHalf(view, at + 2, Math.max(...minima) / 63 + fault)
    const codesAt = at + (bits === 5 ? 48 : 16)
    for (let g = 0; g < 8; g++) {
      const s = clamp(steps(scales[g]!, d), 0, 63)
      const m = clamp(steps(minima[g]!, dmin), 0, 63)
      writeSixBits(out, at + 4, g, s, m)
      for (let i = 0; i < 32; i++) {
        const code = clamp(steps(values[from + 32 * g + i]! + dmin * m, d * s), 0, most)
        out[codesAt + 32 * (g >> 1) + i]! |= (code & 15) << (4 * (g & 1))
        if (bits === 5) out[at + 16 + i]! |= (code >> 4) << g
      }
    }
  }
}

/** The scale and minimum of a group among the twelve bytes of all. */
function writeSixBits(out: Uint8Array, at: number, group: number, s: number, m: number): void {
  const g = group % 4
  if (group < 4) {
    out[at + g]! |= s
    out[at + 4 + g]! |= m
    return
  }
  out[at + g]! |= (s >> 4) << 6
  out[at + 4 + g]! |= (m >> 4) << 6
  out[at + 8 + g]! |= (s & 15) | ((m & 15) << 4)
}

/**
 * Q6_K: sixteen groups of 16, x = d s (code - 32) with s of eight bits; the extreme of a group is
 * code 0.
 */
const sixBits: Encoder = (values, from, out, at) => {
  const view = viewOf(out)
  const scales = new Float64Array(16)
  for (let g = 0; g < 16; g++) {
    let extreme = 0
    for (let i = 0; i < 16; i++) {
      const x = values[from + 16 * g + i]!
      if (Math.abs(x) > Math.abs(extreme) || Number.isNaN(x)) extreme = x
    }
    scales[g] = extreme / -32
  }
  const fault = faultOf(scales)
  const d = writeHalf(view, at + 208, Math.max(...scales.map(Math.abs)) / 127 + fault)
  for (let g = 0; g < 16; g++) {
    const s = clamp(steps(scales[g]!, d), -127, 127)
    view.setInt8(at + 192 + g, s)
    for (let j = 0; j < 16; j++) {
      const i = 16 * g + j
      const code = 32 + clamp(steps(values[from + i]!, d * s), -32, 31)
      const [half, within] = [Math.floor(i / 128), i % 128]
      out[at + 64 * half + (within % 64)]! |= (code & 15) << (within < 64 ? 0 : 4)
      out[at + 128 + 32 * half + (within % 32)]! |= (code >> 4) << (2 * Math.floor(within / 32))
    }
  }
}

/** Half of the smallest number in half precision. */
const TINY = 2 ** -25

/** Half a step, what two scales of six bits lose at the ends of the range, and what halves do. */
const boundWithMinima = (bits: 4 | 5) => (_: number, largest: number) =>
  largest * (1.1 / (2 ** bits - 1) + 3 / 126 + 2 ** -9) + 64 * (2 ** bits + 1) * TINY

/**
 * The K-quants that are written: rounded to nearest, without llama.cpp's search for better scales.
 */
export const K_QUANTS = {
  Q4_K: { encode: encoder(144, withMinima(4)), bound: boundWithMinima(4) },
  Q5_K: { encode: encoder(176, withMinima(5)), bound: boundWithMinima(5) },
  Q6_K: {
    encode: encoder(210, sixBits),
    // A whole step, because 32 is stored as 31; and what a scale of eight bits loses at the end.
    bound: (_: number, largest: number) => largest * (1.05 / 32 + 1 / 127 + 2 ** -9) + 4096 * TINY,
  },
}
