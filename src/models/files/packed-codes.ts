import { assert } from "../../errors.ts"

const words = (bytes: Uint8Array): Uint32Array => new Uint32Array(bytes.slice().buffer)

/** Rows of codes that lie 32 / bits in a word, the first in the lowest bits. */
export class PackedCodes {
  readonly #words: Uint32Array
  readonly #wordsInRow: number
  readonly #perWord: number
  readonly #bits: number
  readonly #mask: number
  readonly #order: readonly number[]

  /** @param order which of a word's places holds each of its columns; left out: the same. */
  constructor(bytes: Uint8Array, wordsInRow: number, bits: number, order?: readonly number[]) {
    this.#words = words(bytes)
    this.#wordsInRow = wordsInRow
    this.#perWord = 32 / bits
    this.#bits = bits
    this.#mask = 2 ** bits - 1
    this.#order = order ?? Array.from({ length: this.#perWord }, (_, place) => place)
    assert(Number.isInteger(this.#perWord), `codes of ${bits} bits`)
  }
  at(row: number, column: number): number {
    const place = column % this.#perWord
    const word = this.#words[row * this.#wordsInRow + (column - place) / this.#perWord]!
    return (word >>> (this.#bits * this.#order[place]!)) & this.#mask
  }
}
