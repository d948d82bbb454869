/**
 * Words without letter case and punctuation; of what is written without spaces, each sign. Letters
 * with marks are one however they are encoded, and full-width and styled signs are plain ones (NFKC).
 */
export function wordsOf(text: string): string[] {
  return text.normalize("NFKC").toLowerCase().replaceAll(UNSEEN, "").match(WORD) ?? []
}

/** Zero-width spaces, joiners, soft hyphens, marks of direction: nobody reads another word. */
const UNSEEN = /\p{Cf}/gu
const WORD =
  /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]|[\p{L}\p{N}\p{M}]+/gu

/**
 * Two 32-bit halves of the hash of each run of `n` words, end to end; of a shorter text that has
 * any, one of all its words. (FNV-1a with two offsets over UTF-16 units, MurmurHash3's finaliser.)
 */
export function ngramHashes(words: readonly string[], n: number): Uint32Array {
  if (words.length === 0) return new Uint32Array(0)
  const size = Math.min(n, words.length)
  const hashes = new Uint32Array(2 * (words.length - size + 1))
  for (let first = 0; first + size <= words.length; first++) {
    let a = 0x811c9dc5
    let b = 0x9e3779b9
    for (let w = first; w < first + size; w++) {
      const word = words[w]!
      for (let i = 0; i <= word.length; i++) {
        const unit = i === word.length ? 0x20 : word.charCodeAt(i)
        a = Math.imul(a ^ unit, 0x01000193)
        b = Math.imul(b ^ unit, 0x01000195)
      }
    }
    hashes[2 * first] = finalised(a)
    hashes[2 * first + 1] = finalised(b)
  }
  return hashes
}

function finalised(word: number): number {
  const a = Math.imul(word ^ (word >>> 16), 0x85ebca6b)
  const b = Math.imul(a ^ (a >>> 13), 0xc2b2ae35)
  return (b ^ (b >>> 16)) >>> 0
}
