import { expect, test } from "vitest"
import { shownRange, tickText } from "../../web/src/parts/ticks.ts"

test.each([
  [0.25, [0.25, 0.5, 0.75, 1], "0.25 0.50 0.75 1.00"],
  [0.2, [0, 0.2, 0.4], "0.0 0.2 0.4"],
  [2.5, [0, 2.5, 5], "0.0 2.5 5.0"],
  [50, [0, 50, 100], "0 50 100"],
  [5e6, [2.1e9, 2.105e9], "2.1B 2.105B"],
  [20_000, [2.1475e9, 2.14752e9], "2.1475B 2.14752B"],
  [2000, [0, 10_000, 12_000], "0 10K 12K"],
  [1e-5, [0, 1e-5, 2e-5], "0 1.0e-5 2.0e-5"],
  [2e-6, [1, 1.000002, 1.000004], "1.000000 1.000002 1.000004"],
  [1e-7, [1.23e-5, 1.24e-5], "1.23e-5 1.24e-5"],
])("marks %d apart differ: %j", (step, ticks, words) => {
  expect(ticks.map((tick) => tickText(tick, step)).join(" ")).toBe(words)
})

test("powers of ten are told as they are", () => {
  const ticks = [1e-6, 0.01, 1, 1e6]
  expect(ticks.map((tick) => tickText(tick, 0)).join(" ")).toBe("1.00e-6 0.01 1 1M")
})

test("values that are all the same are shown in the middle of something", () => {
  expect(shownRange(0, 0)).toEqual([0, 1])
  expect(shownRange(-5, -5)).toEqual([-5.5, -4.5])
  expect(shownRange(1, 1 + 2e-7)).toEqual([0.9, 1.1 + 2e-7]) // rounded otherwise
  expect(shownRange(0.5, 1)).toEqual([0.47, 1.03])
  expect(shownRange(null, null)).toEqual([null, null])
})
