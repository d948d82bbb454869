import { float32ToBf16, float32ToF16 } from "./float.ts"
import { GGUF_BLOCKS } from "./gguf-blocks.ts"
import { K_QUANTS } from "./gguf-k-quants.ts"

export const GGUF_MAGIC = 0x46554747 // "GGUF", little endian
export const GGUF_VERSION = 3
/** Where `general.alignment` says nothing else. */
export const GGUF_ALIGNMENT = 32
/** ggml keeps a name in 64 bytes, the last of them a zero. */
export const GGUF_MAX_NAME = 63

/** A tensor type that is read. */
export type GgufType = keyof typeof GGUF_BLOCKS

/** Their numbers in a file (ggml.h, enum ggml_type). */
export const GGUF_TYPE_CODES: { readonly [Type in GgufType]: number } = {
  F32: 0,
  F16: 1,
  Q4_0: 2,
  Q4_1: 3,
  Q5_0: 6,
  Q5_1: 7,
  Q8_0: 8,
  Q2_K: 10,
  Q3_K: 11,
  Q4_K: 12,
  Q5_K: 13,
  Q6_K: 14,
  IQ4_NL: 20,
  IQ4_XS: 23,
  BF16: 30,
  TQ1_0: 34,
  TQ2_0: 35,
  MXFP4: 39,
}

/** Types that llama.cpp writes and that are not read, by their numbers. */
export const GGUF_UNREAD: ReadonlyMap<number, string> = new Map([
  [16, "IQ2_XXS"],
  [17, "IQ2_XS"],
  [18, "IQ3_XXS"],
  [19, "IQ1_S"],
  [21, "IQ3_S"],
  [22, "IQ2_S"],
  [29, "IQ1_M"],
  [40, "NVFP4"],
])

/** A tensor type that is written. */
export type WrittenGgufType = "F32" | "F16" | "BF16" | "Q8_0" | "Q4_0" | keyof typeof K_QUANTS

/** How a tensor type is written. */
export interface GgufEncoding {
  /** Whole blocks in. What is too large for the type comes out as infinity. */
  readonly encode: (values: Float32Array) => Uint8Array
  /**
   * The largest difference that storing may make to each value of a block whose largest magnitude
   * is `largest`.
   */
  readonly bound: (value: number, largest: number) => number
}

/** Half of the last bit of a half-precision number, and of its smallest subnormal. */
const F16_ROUNDING = { relative: 2 ** -11, absolute: 2 ** -25 }
const BLOCK = 32

const HALF = new Uint16Array(1)
const SINGLE = new Float32Array(1)

function halfBits(value: number): number {
  SINGLE[0] = value
  return float32ToF16(SINGLE, HALF)[0]!
}

const bytesOf = (data: Float32Array | Uint16Array): Uint8Array =>
  new Uint8Array(data.buffer, data.byteOffset, data.byteLength)

/** 1 / d in float32; 0 for a block so small that its scale has no reciprocal. */
function reciprocal(d: number): number {
  const inverse = Math.fround(1 / d)
  return Number.isFinite(inverse) ? inverse : 0
}

/** Room for the blocks of `values`, and what each of them is made of. */
function blocksOf(values: Float32Array, blockBytes: number) {
  const blocks = values.length / BLOCK
  const out = new Uint8Array(blocks * blockBytes)
  return { blocks, out, view: new DataView(out.buffer) }
}

/**
 * Q8_0: 32 values as a half-precision scale d = max |x| / 127 and 32 signed bytes round(x / d).
 * Arithmetic is float32 as in ggml's quantize_row_q8_0_ref, so the bytes are the same.
 */
function encodeQ8(values: Float32Array): Uint8Array {
  const { blocks, out, view } = blocksOf(values, 34)
  for (let block = 0; block < blocks; block++) {
    const from = block * BLOCK
    const at = block * 34
    let largest = 0
    // Math.max keeps a NaN, which a comparison would pass over.
    for (let i = 0; i < BLOCK; i++) largest = Math.max(largest, Math.abs(values[from + i]!))
    const d = Math.fround(largest / 127)
    const inverse = reciprocal(d)
    view.setUint16(at, halfBits(d), true)
    for (let i = 0; i < BLOCK; i++) {
      const scaled = Math.fround(values[from + i]! * inverse)
      const rounded = Math.floor(Math.abs(scaled) + 0.5) // half away from zero, as roundf
      out[at + 2 + i] = scaled < 0 ? -rounded : rounded
    }
  }
  return out
}

/**
 * The value of largest magnitude, the first of several; a NaN, above which nothing compares, if
 * there is one.
 */
function extreme(values: Float32Array, from: number): number {
  let found = 0
  for (let i = from; i < from + BLOCK; i++) {
    const value = values[i]!
    if (Math.abs(value) > Math.abs(found) || Number.isNaN(value)) found = value
  }
  return found
}

/**
 * Q4_0: 32 values as a half-precision scale d = x / -8, where x is the value of largest magnitude,
 * and 32 numbers 0 .. 15 meaning -8 .. 7; value i shares a byte with value i + 16.
 * As ggml's quantize_row_q4_0_ref, to the byte.
 */
function encodeQ4(values: Float32Array): Uint8Array {
  const { blocks, out, view } = blocksOf(values, 18)
  for (let block = 0; block < blocks; block++) {
    const from = block * BLOCK
    const at = block * 18
    const d = Math.fround(extreme(values, from) / -8)
    const inverse = reciprocal(d)
    const nibble = (i: number): number => {
      const shifted = Math.fround(Math.fround(values[from + i]! * inverse) + 8.5)
      return Math.min(15, Math.trunc(shifted))
    }
    view.setUint16(at, halfBits(d), true)
    for (let i = 0; i < BLOCK / 2; i++) out[at + 2 + i] = nibble(i) | (nibble(i + BLOCK / 2) << 4)
  }
  return out
}

export const GGUF_ENCODINGS: { readonly [Type in WrittenGgufType]: GgufEncoding } = {
  F32: {
    encode: bytesOf,
    bound: () => 0,
  },
  F16: {
    encode: (values) => bytesOf(float32ToF16(values, new Uint16Array(values.length))),
    bound: (value) => Math.abs(value) * F16_ROUNDING.relative + F16_ROUNDING.absolute,
  },
  BF16: {
    encode: (values) => bytesOf(float32ToBf16(values, new Uint16Array(values.length))),
    bound: (value) => Math.abs(value) * 2 ** -8 + 2 ** -133,
  },
  Q8_0: {
    encode: encodeQ8,
    // Half a step (and what float32 adds to it), and 127 steps of a rounded scale.
    bound: (_, largest) =>
      largest * (0.5001 / 127 + F16_ROUNDING.relative) + 128 * F16_ROUNDING.absolute,
  },
  Q4_0: {
    encode: encodeQ4,
    // A whole step, because 8 is stored as 7; and 8 steps of a rounded scale.
    bound: (_, largest) =>
      largest * (1.0001 / 8 + F16_ROUNDING.relative) + 9 * F16_ROUNDING.absolute,
  },
  ...K_QUANTS,
}

/** Bytes of a tensor. NaN where its rows (the last axis) are not whole blocks. */
export function ggufBytes(type: GgufType, shape: readonly number[]): number {
  const { values, bytes } = GGUF_BLOCKS[type]
  const row = shape.at(-1) ?? 1
  const count = shape.reduce((product, size) => product * size, 1)
  return row % values === 0 && Number.isSafeInteger(count) ? (count / values) * bytes : Number.NaN
}

/** The values of whole blocks as they lie in a file, into `out` if given. */
export function ggufValues(type: GgufType, bytes: Uint8Array, out?: Float32Array): Float32Array {
  const { values, bytes: each, decode } = GGUF_BLOCKS[type]
  const into = out ?? new Float32Array((bytes.length / each) * values)
  decode(bytes, into)
  return into
}

/** Bytes from `length` to the next multiple of `alignment`. */
export function padding(length: number, alignment: number): number {
  return (alignment - (length % alignment)) % alignment
}
