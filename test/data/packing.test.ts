import { expect, test } from "vitest"
import { packRows } from "../../src/data/packing.ts"
import { InputError } from "../../src/errors.ts"
import { fc } from "../seeded-check.ts"

const lengths = fc.array(fc.integer({ min: 1, max: 100 }), { maxLength: 300 })

test("every row is in exactly one bin, and no bin is over-full", () => {
  fc.assert(
    fc.property(lengths, fc.integer({ min: 100, max: 400 }), (rows, capacity) => {
      const bins = packRows(rows, capacity)
      expect(bins.flat().sort((a, b) => a - b)).toEqual(rows.map((_, i) => i))
      for (const bin of bins) {
        expect(bin.length).toBeGreaterThan(0)
        expect(bin.reduce((sum, row) => sum + rows[row]!, 0)).toBeLessThanOrEqual(capacity)
        expect(bin).toEqual(bin.toSorted((a, b) => a - b))
      }
    }),
  )
})

test("best fit wastes little: never two bins that would fit into one", () => {
  fc.assert(
    fc.property(lengths, (rows) => {
      const fill = packRows(rows, 128).map((bin) => bin.reduce((sum, row) => sum + rows[row]!, 0))
      const [least = 128, second = 128] = fill.toSorted((a, b) => a - b)
      expect(least + second).toBeGreaterThan(128)
    }),
  )
})

test("the tightest bin is taken", () => {
  // 70 | 60 | 50, then 40 goes to 60 (exactly full) and 30 to 70
  expect(packRows([70, 60, 50, 40, 30], 100)).toEqual([[0, 4], [1, 3], [2]])
})

test("a hundred thousand rows pack, the same way each time", () => {
  const rows = Array.from({ length: 100_000 }, (_, i) => 1 + ((i * 7919) % 2048))
  const bins = packRows(rows, 4096)
  expect(bins).toEqual(packRows(rows, 4096))
  const total = rows.reduce((sum, length) => sum + length, 0)
  expect(bins.length).toBeLessThan((1.01 * total) / 4096 + 1)
})

test("a row that cannot fit is refused", () => {
  expect(() => packRows([5, 11], 10)).toThrow(InputError)
})
