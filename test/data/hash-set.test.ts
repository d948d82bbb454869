import { expect, test } from "vitest"
import { HashSet, hashHalves } from "../../src/data/hash-set.ts"
import { fc } from "../seeded-check.ts"

test("holds what a Set of bigint holds, while it grows", () => {
  const hash = fc.oneof(
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
    fc.constantFrom(0n, 1n, -1n, 1n << 32n, -(1n << 32n), 16n, 32n),
  )
  fc.assert(
    fc.property(fc.array(hash, { maxLength: 200 }), fc.nat(40), (hashes, expected) => {
      const judge = new Set<bigint>()
      const set = new HashSet(expected)
      const halves = hashHalves(BigInt64Array.from(hashes))
      for (const [i, value] of hashes.entries()) {
        const [low, high] = [halves[2 * i]!, halves[2 * i + 1]!]
        expect(set.has(low, high)).toBe(judge.has(value))
        expect(set.add(low, high)).toBe(!judge.has(value))
        judge.add(value)
        expect(set.size).toBe(judge.size)
      }
      for (let i = 0; i < hashes.length; i++)
        expect(set.has(halves[2 * i]!, halves[2 * i + 1]!)).toBe(true)
    }),
  )
})
