/**
 * 64-bit hashes as pairs of 32-bit halves: reading them as bigint would make one for each.
 */
export const hashHalves = (hashes: BigInt64Array): Int32Array =>
  new Int32Array(hashes.buffer, hashes.byteOffset, 2 * hashes.length)

/**
 * A set of 64-bit hashes in a typed array: some 16 bytes an entry where a Set of bigint takes 60.
 */
export class HashSet {
  /** Halves of the entries; 0 means free, so the hash 0 is kept apart. */
  private entries: Int32Array
  private filled = 0
  private hasZero = false

  /** @param expected entries that are to fit without growing */
  constructor(expected = 0) {
    this.entries = new Int32Array(2 * slotsFor(expected))
  }

  get size(): number {
    return this.filled + (this.hasZero ? 1 : 0)
  }

  /** @returns whether it was new */
  add(low: number, high: number): boolean {
    if (low === 0 && high === 0) {
      const isNew = !this.hasZero
      this.hasZero = true
      return isNew
    }
    const at = this.slot(low, high)
    if (this.entries[at] !== 0 || this.entries[at + 1] !== 0) return false
    this.entries[at] = low
    this.entries[at + 1] = high
    if (++this.filled * 4 > (this.entries.length / 2) * 3) this.grow()
    return true
  }

  has(low: number, high: number): boolean {
    if (low === 0 && high === 0) return this.hasZero
    const at = this.slot(low, high)
    return this.entries[at] !== 0 || this.entries[at + 1] !== 0
  }

  /**
   * Where the entry is, or the free place where it would be: the hashes are random, so in order.
   */
  private slot(low: number, high: number): number {
    const { entries } = this
    const mask = entries.length - 1
    let at = (low << 1) & mask
    while (
      (entries[at] !== low || entries[at + 1] !== high) &&
      (entries[at] !== 0 || entries[at + 1] !== 0)
    ) {
      at = (at + 2) & mask
    }
    return at
  }

  private grow(): void {
    const before = this.entries
    this.entries = new Int32Array(2 * before.length)
    for (let i = 0; i < before.length; i += 2) {
      const low = before[i]!
      const high = before[i + 1]!
      if (low === 0 && high === 0) continue
      const at = this.slot(low, high)
      this.entries[at] = low
      this.entries[at + 1] = high
    }
  }
}

/** A power of two that `expected` fill to three quarters at most. */
const slotsFor = (expected: number) =>
  2 ** Math.ceil(Math.log2(Math.max(16, (expected * 4) / 3 + 1)))
