const MULTIPLIER_0 = 0xd2511f53
const MULTIPLIER_1 = 0xcd9e8d57
const WEYL_0 = 0x9e3779b9
const WEYL_1 = 0xbb67ae85
const ROUNDS = 10

type Words = readonly [number, number, number, number]

/** The high and low halves of a 64-bit product of two 32-bit words. */
function multiply(a: number, b: number): readonly [high: number, low: number] {
  const [ah, al, bh, bl] = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff]
  const middle = ah * bl + ((al * bl) >>> 16)
  const other = al * bh + (middle & 0xffff)
  return [
    (ah * bh + Math.floor(middle / 65536) + Math.floor(other / 65536)) >>> 0,
    Math.imul(a, b) >>> 0,
  ]
}

/**
 * Philox4x32-10: 128 random bits as a function of a counter and a key, so that any number of a
 * stream can be had without those before it. Source: Salmon et al., "Parallel random numbers: as
 * easy as 1, 2, 3" (SC 2011).
 */
export function philox(counter: Words, key: readonly [number, number]): Words {
  let [a, b, c, d] = counter
  let [k0, k1] = key
  for (let round = 0; round < ROUNDS; round++) {
    const [high0, low0] = multiply(MULTIPLIER_0, a)
    const [high1, low1] = multiply(MULTIPLIER_1, c)
    ;[a, b, c, d] = [(high1 ^ b ^ k0) >>> 0, low1, (high0 ^ d ^ k1) >>> 0, low0]
    k0 = (k0 + WEYL_0) >>> 0
    k1 = (k1 + WEYL_1) >>> 0
  }
  return [a, b, c, d]
}

/**
 * The uniform number in [0, 1), 53 bits, with which token `index` of the sample of this seed is
 * drawn: a function of these alone. `stream` tells apart the samples that share a seed.
 */
export function uniform(
  seed: number,
  index: number,
  [x, y, z]: readonly [number, number, number] = [0, 0, 0],
): number {
  const key = [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0] as const
  const [a, b] = philox([index >>> 0, x >>> 0, y >>> 0, z >>> 0], key)
  return ((a >>> 5) * 2 ** 26 + (b >>> 6)) / 2 ** 53
}
