import { bf16ToFloat32, f16ToFloat32 } from "./float.ts"
import { type BlockDecoder, blockwise, type GgufBlock, halfAt, IQ4_STEPS } from "./gguf-block.ts"
import { SUPER_BLOCKS } from "./gguf-super-blocks.ts"

const SIZE = 32
const PAIRS = SIZE / 2

/** Nibble codes, value i beside value i + 16: x = d * table[code]. */
function tabled(table: readonly number[], codesAt: number, scale: typeof halfAt): BlockDecoder {
  const values = Float32Array.from(table)
  return (bytes, at, out, to) => {
    const d = scale(bytes, at)
    for (let i = 0; i < PAIRS; i++) {
      const pair = bytes[at + codesAt + i]!
      out[to + i] = d * values[pair & 15]!
      out[to + PAIRS + i] = d * values[pair >> 4]!
    }
  }
}

/** The fifth bits of 32 codes. */
const highBits = (bytes: Uint8Array, at: number): number =>
  bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)

/** x = d (code - 16) with five bits, or d code + m. */
function fiveBits(hasMinimum: boolean): BlockDecoder {
  const rest = hasMinimum ? 4 : 2
  return (bytes, at, out, to) => {
    const d = halfAt(bytes, at)
    const m = hasMinimum ? halfAt(bytes, at + 2) : 0
    const high = highBits(bytes, at + rest)
    for (let i = 0; i < SIZE; i++) {
      const pair = bytes[at + rest + 4 + (i % PAIRS)]!
      const low = i < PAIRS ? pair & 15 : pair >> 4
      const code = low | (((high >>> i) & 1) << 4)
      out[to + i] = hasMinimum ? Math.fround(d * code) + m : d * (code - 16)
    }
  }
}

/** x = d code + m. */
const fourBitsAndMinimum: BlockDecoder = (bytes, at, out, to) => {
  const d = halfAt(bytes, at)
  const m = halfAt(bytes, at + 2)
  for (let i = 0; i < PAIRS; i++) {
    const pair = bytes[at + 4 + i]!
    out[to + i] = Math.fround(d * (pair & 15)) + m
    out[to + PAIRS + i] = Math.fround(d * (pair >> 4)) + m
  }
}

const eightBits: BlockDecoder = (bytes, at, out, to) => {
  const d = halfAt(bytes, at)
  for (let i = 0; i < SIZE; i++) out[to + i] = d * ((bytes[at + 2 + i]! << 24) >> 24)
}

const POWER = new Uint32Array(1)
const POWER_VALUE = new Float32Array(POWER.buffer)

/** Half of 2^(byte - 127), which goes with doubled values. */
function halfPower(bytes: Uint8Array, at: number): number {
  const exponent = bytes[at]!
  POWER[0] = exponent < 2 ? 0x00200000 << exponent : (exponent - 1) << 23
  return POWER_VALUE[0]!
}

const range = (from: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => from + i)

/** E2M1, doubled (OCP Microscaling Formats 1.0). */
const MXFP4_STEPS = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12]

/** A copy, because bytes from a file need not begin at an even address. */
const aligned = (bytes: Uint8Array): ArrayBuffer => bytes.slice().buffer

const block = (bytes: number, decode: BlockDecoder): GgufBlock => blockwise(SIZE, bytes, decode)

/** Every type of tensor that is read, by ggml's name. */
export const GGUF_BLOCKS = {
  F32: {
    values: 1,
    bytes: 4,
    decode: (bytes: Uint8Array, out: Float32Array) => out.set(new Float32Array(aligned(bytes))),
  },
  F16: {
    values: 1,
    bytes: 2,
    decode: (bytes: Uint8Array, out: Float32Array) =>
      void f16ToFloat32(new Uint16Array(aligned(bytes)), out),
  },
  BF16: {
    values: 1,
    bytes: 2,
    decode: (bytes: Uint8Array, out: Float32Array) =>
      void bf16ToFloat32(new Uint16Array(aligned(bytes)), out),
  },
  Q4_0: block(18, tabled(range(-8, 16), 2, halfAt)),
  Q4_1: block(20, fourBitsAndMinimum),
  Q5_0: block(22, fiveBits(false)),
  Q5_1: block(24, fiveBits(true)),
  Q8_0: block(34, eightBits),
  IQ4_NL: block(18, tabled(IQ4_STEPS, 2, halfAt)),
  MXFP4: block(17, tabled(MXFP4_STEPS, 1, halfPower)),
  ...SUPER_BLOCKS,
} as const satisfies Readonly<Record<string, GgufBlock>>
