import { expect, test } from "vitest"
import { suggestedRate } from "../../src/train/learning-rate-range.ts"

const points = (losses: readonly number[], nlls: readonly number[] = losses) =>
  losses.map((loss, i) => ({ learning_rate: 10 ** (i - 6), loss, nll: nlls[i]! }))

test("a third of the rate at the lowest loss", () => {
  expect(suggestedRate(points([3, 3, 2.5, 2, 1, 2, 9]))).toBeCloseTo(1e-2 / 3)
})

test("none where the loss only grew", () => {
  expect(suggestedRate(points([1, 2, 3, 4]))).toBeNull()
})

test("a loss that falls while the cross-entropy grows is no reason", () => {
  const nlls = [3, 3, 3, 2.9, 4, 8, 12]
  const rate = suggestedRate(points([0.3, 0.29, 0.27, 0.25, 0.1, 0.01, 0], nlls))
  expect(rate).toBeCloseTo(1e-4 / 3)
})

test("a last point that is not finite is left out", () => {
  expect(suggestedRate(points([3, 2, 1, Number.NaN]))).toBeGreaterThan(0)
})
