/**
 * Half-precision numbers. JavaScript has no 16-bit float arrays on Node 20, so both kinds travel as
 * `Uint16Array` of their bits. Widening is exact; narrowing rounds to nearest, ties to even; NaN
 * stays NaN; what is too large becomes infinity.
 */

const BITS = new Uint32Array(1)
const VALUE = new Float32Array(BITS.buffer)

function float32Bits(value: Float32Array): Uint32Array {
  return new Uint32Array(value.buffer, value.byteOffset, value.length)
}

/** bfloat16 is the upper half of a float32. `target` has at least `source.length` elements. */
export function bf16ToFloat32(source: Uint16Array, target: Float32Array): Float32Array {
  const bits = float32Bits(target)
  const n = source.length
  for (let i = 0; i < n; i++) bits[i] = source[i]! << 16
  return target
}

/** `target` has at least `source.length` elements. */
export function float32ToBf16(source: Float32Array, target: Uint16Array): Uint16Array {
  const bits = float32Bits(source)
  const n = source.length
  for (let i = 0; i < n; i++) {
    const x = bits[i]!
    // Rounding a NaN up could carry into infinity: keep its upper bits and make it quiet.
    target[i] =
      (x & 0x7fffffff) > 0x7f800000 ? (x >>> 16) | 0x0040 : (x + 0x7fff + ((x >>> 16) & 1)) >>> 16
  }
  return target
}

/** The float32 bits of one IEEE half. */
function widenHalf(half: number): number {
  const sign = (half & 0x8000) << 16
  const exponent = (half >>> 10) & 0x1f
  const fraction = half & 0x3ff
  if (exponent === 0x1f) return sign | 0x7f800000 | (fraction << 13)
  if (exponent !== 0) return sign | ((exponent + 112) << 23) | (fraction << 13)
  VALUE[0] = fraction * 2 ** -24 // a subnormal half is a normal float32
  return sign | BITS[0]!
}

let halfTable: Uint32Array | undefined

/** Through a table of all 65,536 halves (256 KB, made on first use). */
export function f16ToFloat32(source: Uint16Array, target: Float32Array): Float32Array {
  halfTable ??= Uint32Array.from({ length: 65536 }, (_, half) => widenHalf(half))
  const table = halfTable
  const bits = float32Bits(target)
  const n = source.length
  for (let i = 0; i < n; i++) bits[i] = table[source[i]!]!
  return target
}

function narrowToHalf(x: number): number {
  const sign = (x >>> 16) & 0x8000
  const magnitude = x & 0x7fffffff
  if (magnitude > 0x7f800000) return sign | 0x7e00 | ((magnitude >>> 13) & 0x1ff)
  if (magnitude >= 0x477ff000) return sign | 0x7c00 // 65520 and more round to infinity
  if (magnitude >= 0x38800000) {
    // A normal half: rebias the exponent (127 - 15 = 112), round off 13 bits; carries are right.
    const rebiased = magnitude - (112 << 23)
    return sign | ((rebiased + 0xfff + ((rebiased >>> 13) & 1)) >>> 13)
  }
  if (magnitude < 0x33000000) return sign // less than half of the smallest subnormal
  const shift = 126 - (magnitude >>> 23) // 14 .. 24
  const fraction = (magnitude & 0x7fffff) | 0x800000
  const kept = fraction >>> shift
  const rest = fraction & ((1 << shift) - 1)
  const half = 1 << (shift - 1)
  return sign | (kept + (rest > half || (rest === half && (kept & 1) === 1) ? 1 : 0))
}

/** `target` has at least `source.length` elements. */
export function float32ToF16(source: Float32Array, target: Uint16Array): Uint16Array {
  const bits = float32Bits(source)
  const n = source.length
  for (let i = 0; i < n; i++) target[i] = narrowToHalf(bits[i]!)
  return target
}
