import { expect, test } from "vitest"
import { rowValues } from "../../src/browser/tab-rows.ts"
import { ownTexts } from "../../web/src/playground/own-split.ts"
import { fc } from "../seeded-check.ts"

const row = fc.oneof(
  fc.record({ prompt: fc.string(), completion: fc.string() }),
  fc.json().map(String),
)

test("no row is lost or twice, and each keeps its line", () => {
  fc.assert(
    fc.property(fc.array(row, { maxLength: 60 }), fc.boolean(), (rows, isList) => {
      const text = isList
        ? JSON.stringify(rows, null, 1)
        : rows.map((x) => JSON.stringify(x)).join("\n\n")
      const { train, heldOut, isHeldOut } = ownTexts(text)
      const [whole, kept, held] = [text, train, heldOut].map((part) => rowValues(part, "rows"))
      if (!isHeldOut) {
        expect(rows.length).toBeLessThan(10)
        expect(kept).toEqual(whole)
        return
      }
      expect([...kept!.values, ...held!.values]).toEqual(whole!.values)
      expect([...kept!.lines, ...held!.lines]).toEqual(whole!.lines)
      expect(held!.values.length).toBeGreaterThanOrEqual(2)
    }),
  )
})

test.each(["", "[", "[1, 2", '{"a"', "[]", "null"])("%j is left as it is", (text) => {
  expect(ownTexts(text)).toEqual({ train: text, heldOut: text, isHeldOut: false })
})
