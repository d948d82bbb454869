import { expect, test } from "vitest"
import type { RunEvent } from "../../src/run/events.ts"
import { policyWatch } from "../../src/train/policy-watch.ts"

const rollout = (entropy: number | null) => ({ type: "rollout", step: 0, entropy }) as RunEvent
const step = (fields: object) => ({ type: "step", step: 1, ...fields }) as RunEvent

const codes = (events: readonly RunEvent[], before: readonly RunEvent[] = []) => {
  const watch = policyWatch(before)
  return events.flatMap((event) => watch(event)?.code ?? [])
}

test("entropy that falls to a third of its first value is told once", () => {
  const falling = [0.9, 0.8, 0.3, 0.2, 0.2, 0.1, 0.1, 0.1].map(rollout)
  expect(codes(falling)).toEqual(["entropy-collapse"])
  expect(codes([0.9, 0.9, 0.8, 0.7, 0.6, 0.6, 0.5].map(rollout))).toEqual([])
  // below a tenth of a nat, but never above it either
  expect(codes([0.05, 0.05, 0.04, 0.04, 0.04, 0.04].map(rollout))).toEqual([])
  expect(codes([null, 0.9, null, 0.9].map(rollout))).toEqual([])
})

test("a resumed run does not repeat it, and remembers the first value", () => {
  const before = [0.9, 0.8, 0.3, 0.2, 0.2].map(rollout)
  const after = [0.2, 0.2].map(rollout)
  expect(codes(after, before)).toEqual(["entropy-collapse"])
  const told = { type: "warning", step: 1, code: "entropy-collapse" } as RunEvent
  expect(codes(after, [...before, told])).toEqual([])
})

test("a policy far from the one that sampled is told", () => {
  const clipped = Array.from({ length: 6 }, () => step({ clip_low: 0.15, clip_high: 0.1 }))
  expect(codes(clipped)).toEqual(["ratio-high"])
  const apart = Array.from({ length: 5 }, () => step({ ratio: { mean: 0.8, max: 2 } }))
  expect(codes(apart)).toEqual(["ratio-high"])
  const near = Array.from({ length: 9 }, () => step({ clip_low: 0.1, ratio: { mean: 1, max: 2 } }))
  expect(codes(near)).toEqual([])
})
