import { type BlockDecoder, blockwise, type GgufBlock, halfAt, IQ4_STEPS } from "./gguf-block.ts"

/** Values of a super-block, whose groups have scales of few bits over one of sixteen. */
const SIZE = 256

/** Codes and scales of the block that is being read. */
const CODES = new Int8Array(SIZE)
const SCALES = new Float32Array(16)
const MINIMA = new Float32Array(16)

/** x = scale code of each group. */
function scaled(out: Float32Array, to: number, group: number): void {
  for (let from = 0; from < SIZE; from += group) {
    const scale = SCALES[from / group]!
    for (let i = from; i < from + group; i++) out[to + i] = scale * CODES[i]!
  }
}

/** x = scale code - minimum of each group. */
function shifted(out: Float32Array, to: number, group: number): void {
  for (let from = 0; from < SIZE; from += group) {
    const scale = SCALES[from / group]!
    const minimum = MINIMA[from / group]!
    for (let i = from; i < from + group; i++) out[to + i] = Math.fround(scale * CODES[i]!) - minimum
  }
}

/**
 * Codes of `bits` bits: runs of `run` bytes hold a value in each of their parts, low parts first.
 */
function unpack(bytes: Uint8Array, at: number, bits: number, run: number): void {
  const mask = 2 ** bits - 1
  for (let i = 0, from = at; i < SIZE; from += run) {
    for (let shift = 0; shift < 8; shift += bits) {
      for (let j = 0; j < run; j++) CODES[i++] = (bytes[from + j]! >> shift) & mask
    }
  }
}

/** Bits above those of {@link unpack}, in runs of 32 bytes. */
function addHigh(bytes: Uint8Array, at: number, bits: number, by: number): void {
  const mask = 2 ** bits - 1
  for (let i = 0, from = at; i < SIZE; from += 32) {
    for (let shift = 0; shift < 8; shift += bits) {
      for (let j = 0; j < 32; j++) CODES[i++]! |= ((bytes[from + j]! >> shift) & mask) << by
    }
  }
}

/** Eight scales and minima of six bits in twelve bytes. */
function sixBitPairs(bytes: Uint8Array, at: number, d: number, dmin: number): void {
  for (let g = 0; g < 4; g++) {
    const [a, b, both] = [bytes[at + g]!, bytes[at + 4 + g]!, bytes[at + 8 + g]!]
    SCALES[g] = d * (a & 63)
    MINIMA[g] = dmin * (b & 63)
    SCALES[g + 4] = d * ((both & 15) | ((a >> 2) & 48))
    MINIMA[g + 4] = dmin * ((both >> 4) | ((b >> 2) & 48))
  }
}

const signed = (byte: number): number => (byte << 24) >> 24

const q2: BlockDecoder = (bytes, at, out, to) => {
  const [d, dmin] = [halfAt(bytes, at + 80), halfAt(bytes, at + 82)]
  for (let g = 0; g < 16; g++) {
    SCALES[g] = d * (bytes[at + g]! & 15)
    MINIMA[g] = dmin * (bytes[at + g]! >> 4)
  }
  unpack(bytes, at + 16, 2, 32)
  shifted(out, to, 16)
}

const q3: BlockDecoder = (bytes, at, out, to) => {
  const d = halfAt(bytes, at + 108)
  for (let g = 0; g < 16; g++) {
    const low = (bytes[at + 96 + (g % 8)]! >> (g < 8 ? 0 : 4)) & 15
    const high = (bytes[at + 104 + (g % 4)]! >> (2 * Math.floor(g / 4))) & 3
    SCALES[g] = d * ((low | (high << 4)) - 32)
  }
  unpack(bytes, at + 32, 2, 32)
  addHigh(bytes, at, 1, 2)
  // A bit that is not set takes 4 away.
  for (let i = 0; i < SIZE; i++) CODES[i]! -= 4
  scaled(out, to, 16)
}

/** Q4_K, and Q5_K with its fifth bits. */
function q4or5(hasFifth: boolean): BlockDecoder {
  return (bytes, at, out, to) => {
    sixBitPairs(bytes, at + 4, halfAt(bytes, at), halfAt(bytes, at + 2))
    unpack(bytes, at + (hasFifth ? 48 : 16), 4, 32)
    if (hasFifth) addHigh(bytes, at + 16, 1, 4)
    shifted(out, to, 32)
  }
}

const q6: BlockDecoder = (bytes, at, out, to) => {
  const d = halfAt(bytes, at + 208)
  for (let g = 0; g < 16; g++) SCALES[g] = d * signed(bytes[at + 192 + g]!)
  unpack(bytes, at, 4, 64)
  addHigh(bytes, at + 128, 2, 4)
  for (let i = 0; i < SIZE; i++) CODES[i]! -= 32
  scaled(out, to, 16)
}

const iq4: BlockDecoder = (bytes, at, out, to) => {
  const d = halfAt(bytes, at)
  const high = bytes[at + 2]! | (bytes[at + 3]! << 8)
  for (let g = 0; g < 8; g++) {
    const low = (bytes[at + 4 + (g >> 1)]! >> (4 * (g & 1))) & 15
    SCALES[g] = d * ((low | (((high >> (2 * g)) & 3) << 4)) - 32)
  }
  unpack(bytes, at + 8, 4, 16)
  for (let i = 0; i < SIZE; i++) CODES[i] = IQ4_STEPS[CODES[i]!]!
  scaled(out, to, 32)
}

/** Five ternary digits in a byte, the first of them the most significant of a fraction. */
const tq1: BlockDecoder = (bytes, at, out, to) => {
  const digit = (byte: number, power: number) => ((((byte * power) & 255) * 3) >> 8) - 1
  const d = halfAt(bytes, at + 52)
  let i = to
  for (const [from, run, digits] of [
    [0, 32, 5],
    [32, 16, 5],
    [48, 4, 4],
  ] as const) {
    for (let n = 0, power = 1; n < digits; n++, power *= 3) {
      for (let j = 0; j < run; j++) out[i++] = d * digit(bytes[at + from + j]!, power)
    }
  }
}

const tq2: BlockDecoder = (bytes, at, out, to) => {
  const d = halfAt(bytes, at + 64)
  unpack(bytes, at, 2, 32)
  for (let i = 0; i < SIZE; i++) out[to + i] = d * (CODES[i]! - 1)
}

const block = (bytes: number, decode: BlockDecoder): GgufBlock => blockwise(SIZE, bytes, decode)

/** The types whose blocks hold 256 values. */
export const SUPER_BLOCKS = {
  Q2_K: block(84, q2),
  Q3_K: block(110, q3),
  Q4_K: block(144, q4or5(false)),
  Q5_K: block(176, q4or5(true)),
  Q6_K: block(210, q6),
  IQ4_XS: block(136, iq4),
  TQ1_0: block(54, tq1),
  TQ2_0: block(66, tq2),
} as const
