/** Mixes text into four 32-bit words (FNV-1a with four offsets, then the MurmurHash3 finaliser). */
function seedWords(text: string): Uint32Array {
  const words = Uint32Array.of(0x811c9dc5, 0x9e3779b9, 0x85ebca6b, 0xc2b2ae35)
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    for (let k = 0; k < 4; k++) words[k] = Math.imul(words[k]! ^ unit, 0x01000193 + 2 * k)
  }
  return words.map((word) => {
    const a = Math.imul(word ^ (word >>> 16), 0x85ebca6b)
    const b = Math.imul(a ^ (a >>> 13), 0xc2b2ae35)
    return b ^ (b >>> 16)
  })
}

const rotateLeft = (x: number, k: number): number => (x << k) | (x >>> (32 - k))

/**
 * Uniform numbers in [0, 1) with 53 random bits, the same for the same seed and name on every
 * machine. Streams of different names are independent, so nothing depends on the order of use.
 * Source: xoshiro128** (Blackman and Vigna, 2018).
 */
export function randomStream(seed: number, name: string): () => number {
  const s = seedWords(`${seed}:${name}`)
  if (s.every((word) => word === 0)) s[0] = 1 // the one state it never leaves
  const next = (): number => {
    const result = Math.imul(rotateLeft(Math.imul(s[1]!, 5), 7), 9) >>> 0
    const t = s[1]! << 9
    s[2]! ^= s[0]!
    s[3]! ^= s[1]!
    s[1]! ^= s[2]!
    s[0]! ^= s[3]!
    s[2]! ^= t
    s[3] = rotateLeft(s[3]!, 11)
    return result
  }
  return () => ((next() >>> 5) * 2 ** 26 + (next() >>> 6)) / 2 ** 53
}
