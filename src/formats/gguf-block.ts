import { f16ToFloat32 } from "./float.ts"

/** Reads one block: its bytes from `at` on into `out` from `to` on. */
export type BlockDecoder = (bytes: Uint8Array, at: number, out: Float32Array, to: number) => void

/** How a tensor type lies in a file: `values` of a block in `bytes` bytes. */
export interface GgufBlock {
  readonly values: number
  readonly bytes: number
  /** Whole blocks. Arithmetic is float32, product by product, as in ggml's dequantize_row_*. */
  readonly decode: (bytes: Uint8Array, out: Float32Array) => void
}

/** A type whose blocks are read one after the other. */
export function blockwise(values: number, bytes: number, decode: BlockDecoder): GgufBlock {
  return {
    values,
    bytes,
    decode: (all, out) => {
      const blocks = Math.floor(all.length / bytes)
      for (let i = 0; i < blocks; i++) decode(all, i * bytes, out, i * values)
    },
  }
}

const HALF = new Uint16Array(1)
const SINGLE = new Float32Array(1)

/** The half-precision number at a place. */
export function halfAt(bytes: Uint8Array, at: number): number {
  HALF[0] = bytes[at]! | (bytes[at + 1]! << 8)
  return f16ToFloat32(HALF, SINGLE)[0]!
}

/** The steps of IQ4_NL and IQ4_XS (ggml-common.h, kvalues_iq4nl). */
export const IQ4_STEPS: readonly number[] = [
  -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
]
