import { readFileSync } from "node:fs"
import { expect, test } from "vitest"
import { advantages, allEqual, deviation, mean } from "../../../src/train/rollouts/advantages.ts"
import { scoreInterval } from "../../../src/train/rollouts/eval-prompts.ts"

const golden = JSON.parse(
  readFileSync(new URL("../../../golden/rl/rl.json", import.meta.url), "utf8"),
)
const {
  rewards,
  group: size,
  logp,
} = golden.inputs.groups as {
  rewards: number[]
  group: number
  logp: number[][]
}

const samples = (values: readonly (number | null)[], of = size) =>
  values.map((reward, i) => ({
    reward,
    group: Math.floor(i / of),
    tokens: logp[i]?.length ?? 1,
  }))

test.each([
  ["grpo", { baseline: "group", scale: "group" }],
  ["dr_grpo", { baseline: "group", scale: "none" }],
  ["batch_std", { baseline: "group", scale: "batch" }],
  ["rloo", { baseline: "leave-one-out", scale: "none" }],
  ["reinforce_pp", { baseline: "none", scale: "none", whiten: true }],
  ["reinforce_pp_baseline", { baseline: "group", scale: "none", whiten: true }],
] as const)("%s: the golden advantages", (name, rule) => {
  const wanted = (golden.advantages[name] as (number | number[])[]).map((of) => [of].flat()[0])
  advantages(samples(rewards), rule).forEach((value, i) => {
    expect(value).toBeCloseTo(wanted[i]!, 12)
  })
})

const GRPO = { baseline: "group", scale: "group" } as const

test("a group's advantages add up to nothing; leave-one-out is G / (G - 1) of them", () => {
  const found = advantages(samples([3, 1, 0.5, -2], 4), { baseline: "group", scale: "none" })
  expect(found.reduce((sum, value) => sum + value, 0)).toBeCloseTo(0, 12)
  const rloo = advantages(samples([3, 1, 0.5, -2], 4), {
    baseline: "leave-one-out",
    scale: "none",
  })
  rloo.forEach((value, i) => {
    expect(value).toBeCloseTo((4 / 3) * found[i]!, 12)
  })
})

test("a shift of the rewards changes nothing, a scale nothing of grpo's but for epsilon", () => {
  const plain = advantages(samples(rewards), GRPO)
  const shifted = advantages(samples(rewards.map((reward) => reward + 7)), GRPO)
  const scaled = advantages(samples(rewards.map((reward) => 1000 * reward)), GRPO)
  plain.forEach((value, i) => {
    expect(shifted[i]).toBeCloseTo(value, 9)
    expect(scaled[i]).toBeCloseTo(value, 3)
  })
})

test("two samples: grpo says only which is better, dr-grpo by how much", () => {
  const pair = samples([0.3, 0.1], 2)
  expect([...advantages(pair, GRPO)].map(Math.abs)).toEqual([
    expect.closeTo(Math.SQRT1_2, 3),
    expect.closeTo(Math.SQRT1_2, 3),
  ])
  expect([...advantages(pair, { baseline: "group", scale: "none" })]).toEqual([
    expect.closeTo(0.1, 12),
    expect.closeTo(-0.1, 12),
  ])
})

test("equal rewards that are no round numbers are equal: advantage 0, not noise over a deviation", () => {
  const third = 0.1 + 0.2
  expect([...advantages(samples([third, third, third]), GRPO)]).toEqual([0, 0, 0])
  expect(allEqual([third, third])).toBe(true)
  expect(allEqual([third, 0.3])).toBe(false)
})

test("a sample without a reward has advantage 0 and is no part of the mean", () => {
  const found = advantages(samples([1, null, 0], 3), { baseline: "group", scale: "none" })
  expect([...found]).toEqual([0.5, 0, -0.5])
  expect([...advantages(samples([1, null, null], 3), GRPO)]).toEqual([0, 0, 0])
})

test("a permuted rollout has permuted advantages", () => {
  const order = [8, 3, 1, 0, 5, 7, 2, 6, 4]
  const all = samples(rewards)
  for (const rule of [GRPO, { baseline: "none", scale: "none", whiten: true }] as const) {
    const plain = advantages(all, rule)
    const permuted = advantages(
      order.map((i) => all[i]!),
      rule,
    )
    order.forEach((i, at) => {
      expect(permuted[at]).toBeCloseTo(plain[i]!, 12)
    })
  }
})

test("whitened: mean 0 and variance 1 over tokens, so that long samples weigh more", () => {
  const all = samples(rewards)
  const found = advantages(all, { baseline: "none", scale: "none", whiten: true })
  const tokens = all.flatMap(({ tokens }, i) => new Array<number>(tokens).fill(found[i]!))
  expect(mean(tokens)).toBeCloseTo(0, 12)
  expect(deviation(tokens)).toBeCloseTo(1, 6)
})

test("the interval of verdicts stays between 0 and 1 and is no point where all are right", () => {
  // Wilson's interval of 7 of 8, to three digits, as in R's prop.test without its correction
  const [low, high] = scoreInterval([1, 1, 1, 1, 1, 1, 1, 0], true)
  expect(low).toBeCloseTo(0.529, 3)
  expect(high).toBeCloseTo(0.978, 3)
  const [least, most] = scoreInterval([1, 1, 1, 1], true)
  expect(least).toBeCloseTo(0.51, 2)
  expect(most).toBeCloseTo(1, 12)
  expect(scoreInterval([0.5, 1, 1], true)[1]).toBe(1)
  expect(scoreInterval([], true)).toEqual([0, 0])
  // other rewards know no bounds
  const [below, above] = scoreInterval([0, 3], false)
  expect([below, above].map((x) => Number(x.toFixed(3)))).toEqual([-1.44, 4.44])
})
