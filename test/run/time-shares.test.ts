import { expect, test } from "vitest"
import type { RunEvent } from "../../src/run/events.ts"
import { timeShares } from "../../src/run/time-shares.ts"

const rollout = (fields: object) => ({ type: "rollout", step: 0, ...fields }) as RunEvent
const step = (tokens: number) =>
  ({ type: "step", step: 1, tokens, tokens_per_second: 50 }) as RunEvent

test("each part's share of the time, over an interruption; measured where it is told", () => {
  const parts = { sampling_seconds: 3, grading_seconds: 1, measuring_seconds: 2, seconds: 4 }
  const before = [rollout(parts), step(100)]
  const watch = timeShares(before)
  // 3 + 1 + 2 and 100 tokens of 50 a second
  expect(watch.shares()).toEqual({
    sampling: 3 / 8,
    grading: 1 / 8,
    measuring: 1 / 4,
    training: 1 / 4,
  })
  watch.see(rollout({ seconds: 6 })) // of a version that told no parts
  watch.see(step(200))
  expect(watch.shares()).toEqual({
    sampling: 9 / 16,
    grading: 1 / 16,
    measuring: 1 / 8,
    training: 1 / 4,
  })
})

test("a run without rollouts has none", () => {
  const watch = timeShares()
  watch.see(step(100))
  expect(watch.shares()).toBeUndefined()
})
