import { expect, test } from "vitest"
import { textTable } from "../../src/report/text-table.ts"

const rows = [
  ["run", "nll", "a long title"],
  ["first", "1.5", "x"],
  ["b", "0.25", "yy"],
]

test("columns are as wide as their longest cell, and no line ends in blanks", () => {
  expect(textTable(rows)).toBe("run    nll   a long title\nfirst  1.5   x\nb      0.25  yy")
  expect(textTable(rows, { align: "right" })).toBe(
    "run     nll  a long title\nfirst   1.5             x\nb      0.25            yy",
  )
})

test("a table that is too wide is split, each part with the first column", () => {
  const wide = [1, 2, 3].map((r) => Array.from({ length: 12 }, (_, k) => `cell ${r}-${k}xxxxxx`))
  const text = textTable(wide)
  expect(Math.max(...text.split("\n").map((line) => line.length))).toBeLessThanOrEqual(100)
  const blocks = text.split("\n\n")
  expect(blocks.length).toBeGreaterThan(1)
  for (const block of blocks) expect(block).toMatch(/^cell 1-0/)
  for (const cell of wide.flat()) expect(text).toContain(cell)
})

test("a column that is too wide by itself stands alone", () => {
  const text = textTable([["a", "x".repeat(120), "b"]], { width: 40 })
  expect(text).toBe(`a  ${"x".repeat(120)}\n\na  b`)
})
