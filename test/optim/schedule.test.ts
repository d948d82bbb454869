import { readFileSync } from "node:fs"
import { expect, test } from "vitest"
import {
  learningRate,
  type ScheduleName,
  type ScheduleOptions,
  warmupSteps,
} from "../../src/optim/index.ts"

interface GoldenCase {
  readonly schedule: ScheduleName
  readonly steps: number
  readonly warmup: number
  readonly options: Partial<ScheduleOptions> & { readonly min_lr_ratio?: number }
  readonly factors: readonly number[]
}

const golden = JSON.parse(
  readFileSync(new URL("../../golden/schedules.json", import.meta.url), "utf8"),
) as { readonly cases: readonly GoldenCase[] }

function rates(
  schedule: ScheduleName,
  steps: number,
  warmup: number,
  options: ScheduleOptions | null = null,
): number[] {
  return Array.from({ length: steps }, (_, k) => {
    return learningRate({ schedule, options, peak: 2, warmupSteps: warmup, steps, step: k + 1 })
  })
}
const NO_OPTIONS: ScheduleOptions = {
  ...{ min_lr_rate: null, num_decay_steps: null, decay_ratio: null, decay_type: null },
}
const near = (found: number[], expected: number[]) => {
  expect(found).toHaveLength(expected.length)
  found.forEach((value, k) => {
    expect(value).toBeCloseTo(expected[k]!, 14)
  })
}

test("warmup is peak k / w, then the cosine from 1 to 0 over the remaining steps", () => {
  near(rates("cosine", 6, 2), [1, 2, 1 + Math.SQRT1_2, 1, 1 - Math.SQRT1_2, 0])
})

test("linear falls to 0, constant stays", () => {
  near(rates("linear", 6, 2), [1, 2, 1.5, 1, 0.5, 0])
  near(rates("constant", 4, 2), [1, 2, 2, 2])
})

test.each(golden.cases)("$schedule $options is Transformers' own", (one) => {
  const { min_lr_ratio, ...named } = one.options
  const options = { ...NO_OPTIONS, min_lr_rate: min_lr_ratio ?? null, ...named }
  near(
    rates(one.schedule, one.steps, one.warmup, options),
    one.factors.map((factor) => 2 * factor),
  )
})

test("a decay is a share of all steps, rounded up, and leaves the warmup alone", () => {
  const linear = { ...NO_OPTIONS, decay_type: "linear" } as const
  const wsd = "warmup_stable_decay"
  near(rates(wsd, 5, 1, { ...linear, decay_ratio: 0.25 }), [2, 2, 2, 1, 0])
  near(rates(wsd, 4, 2, { ...linear, num_decay_steps: 9 }), [1, 2, 1, 0])
  near(rates(wsd, 3, 3, { ...linear, num_decay_steps: 2 }), [2 / 3, 4 / 3, 2])
})

test("no warmup, and warmup throughout", () => {
  near(rates("linear", 2, 0), [1, 0])
  near(rates("cosine", 3, 3), [2 / 3, 4 / 3, 2])
})

test("a step outside the run is our fault", () => {
  expect(() => rates("cosine", 3, 1).concat(rates("cosine", 0, 0))).not.toThrow()
  const outside = { schedule: "cosine", peak: 1, warmupSteps: 0, steps: 3 } as const
  expect(() => learningRate({ ...outside, step: 4 })).toThrow("assertion")
  expect(() => learningRate({ ...outside, step: 0 })).toThrow("assertion")
})

test("warmup steps are rounded up and never more than all", () => {
  const ratio = (warmup_ratio: number) => ({ warmup_ratio })
  const of = (steps: number, share: number) => warmupSteps(steps, ratio(share))
  expect([of(390, 0.1), of(5, 0.1), of(5, 0)]).toEqual([39, 1, 0])
  expect(of(3, 1)).toBe(3)
  expect(warmupSteps(390, { ...ratio(0.1), warmup_steps: 7 })).toBe(7)
  expect(warmupSteps(5, { ...ratio(0.1), warmup_steps: 9 })).toBe(5)
})
