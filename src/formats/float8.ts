/** FP8 E4M3 (OCP 8-bit floating point, 1.0; "fn": no infinities, one NaN), all 256 of them. */
export const E4M3: Float32Array = Float32Array.from({ length: 256 }, (_, byte) => {
  const exponent = (byte >> 3) & 15
  const fraction = byte & 7
  const size =
    exponent === 15 && fraction === 7
      ? Number.NaN
      : exponent === 0
        ? fraction * 2 ** -9
        : (8 + fraction) * 2 ** (exponent - 10)
  return byte < 128 ? size : -size
})
