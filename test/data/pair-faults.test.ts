import { expect, test } from "vitest"
import { checkSharedPrompt, pairFault } from "../../src/data/pair-faults.ts"

const side = (tokenIds: number[], from: number, truncated = false) => ({
  tokenIds,
  lossMask: tokenIds.map((_, t) => Number(t >= from)),
  truncated,
})

test("a pair whose sides are the same, or of which one is cut off, is left out", () => {
  const [a, b] = [side([1, 2, 3], 2), side([1, 2, 4], 2)]
  expect(pairFault([a, b], "drop")).toBeUndefined()
  expect(pairFault([a, side([1, 2, 3], 2)], "drop")).toBe("equal-sides")
  expect(pairFault([a, side([1, 2, 4], 2, true)], "drop")).toBe("long-pair")
  expect(pairFault([a, side([1, 2, 4], 2, true)], "truncate")).toBeUndefined()
  expect(pairFault([a, side([1, 2, 3, 4], 2)], "drop")).toBeUndefined()
  expect(pairFault([a], "drop")).toBeUndefined()
})

test("both sides stand behind the same ids; where they differ the place and the ids are named", () => {
  expect(() => checkSharedPrompt([side([1, 2, 3], 2), side([1, 2, 4], 2)])).not.toThrow()
  const wrong = [side([1, 2, 3], 2), side([1, 7, 4], 2)]
  expect(() => checkSharedPrompt(wrong)).toThrow("token 2 of it is 2 in one and 7 in the other")
})
