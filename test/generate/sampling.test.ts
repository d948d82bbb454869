import { describe, expect, test } from "vitest"
import { argMax, drawToken, philox, type Sampling, uniform } from "../../src/generate/index.ts"
import { penalizedArgMax, penalizeSeen } from "../../src/generate/sampling.ts"
import { fc } from "../seeded-check.ts"

test("Philox gives the published numbers (Random123, kat_vectors)", () => {
  const hex = (words: readonly number[]) => words.map((word) => word.toString(16).padStart(8, "0"))
  const ones = 0xffffffff
  expect(hex(philox([0, 0, 0, 0], [0, 0]))).toEqual([
    "6627e8d5",
    "e169c58d",
    "bc57ac4c",
    "9b00dbd8",
  ])
  expect(hex(philox([ones, ones, ones, ones], [ones, ones]))).toEqual([
    ...["408f276d", "41c83b0e", "a20bc7c6", "6d5451fd"],
  ])
  expect(
    hex(philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])),
  ).toEqual(["d16cfe09", "94fdcceb", "5001e420", "24126ea1"])
})

test("a number for each seed and token, in [0, 1), also for seeds past 32 bits", () => {
  const numbers = new Set<number>()
  for (const seed of [0, 1, 2 ** 32, 2 ** 32 + 1, Number.MAX_SAFE_INTEGER]) {
    for (let index = 0; index < 200; index++) numbers.add(uniform(seed, index))
  }
  expect(numbers.size).toBe(1000)
  for (const u of numbers) expect(u >= 0 && u < 1).toBe(true)
})

const weights = Float32Array.of(0.05, 0.3, 0.02, 0.25, 0.18, 0.08, 0.12)

/** Pearson's statistic of draws against probabilities; all of them must be above 0. */
function chiSquare(counts: readonly number[], probabilities: readonly number[]): number {
  const draws = counts.reduce((sum, count) => sum + count, 0)
  return probabilities.reduce((sum, p, i) => sum + (counts[i]! - draws * p) ** 2 / (draws * p), 0)
}

/** The 99.9th percentile of chi-square with `k` degrees of freedom (Wilson and Hilferty, 1931). */
const bound = (k: number) => k * (1 - 2 / (9 * k) + 3.0902 * Math.sqrt(2 / (9 * k))) ** 3

const restricted: readonly [name: string, sampling: Sampling, kept: readonly number[]][] = [
  ["all", { temperature: 1 }, [0, 1, 2, 3, 4, 5, 6]],
  ["top-k 3", { temperature: 1, topK: 3 }, [1, 3, 4]],
  ["top-p 0.7", { temperature: 1, topP: 0.7 }, [1, 3, 4]],
  ["top-p 0.5, exactly reached by two", { temperature: 1, topP: 0.55 }, [1, 3]],
  ["top-p of what top-k left", { temperature: 1, topK: 4, topP: 0.6 }, [1, 3]],
  ["top-p 1", { temperature: 1, topP: 1 }, [0, 1, 2, 3, 4, 5, 6]],
  ["top-k above the vocabulary", { temperature: 1, topK: 99 }, [0, 1, 2, 3, 4, 5, 6]],
]

describe("draws follow the distribution", () => {
  test.each(restricted)("%s", (_name, sampling, kept) => {
    const counts = new Array<number>(weights.length).fill(0)
    for (let i = 0; i < 20_000; i++) counts[drawToken(weights, sampling, uniform(11, i))]!++
    for (const [id, count] of counts.entries()) if (!kept.includes(id)) expect(count).toBe(0)
    const mass = kept.reduce((sum, id) => sum + weights[id]!, 0)
    const probabilities = kept.map((id) => weights[id]! / mass)
    const ofKept = kept.map((id) => counts[id]!)
    expect(chiSquare(ofKept, probabilities)).toBeLessThan(bound(kept.length - 1))
  })
})

test("over a large vocabulary top-k and top-p keep what sorting would", () => {
  const vocabulary = fc.array(fc.float({ min: 0, max: 1, noNaN: true }), {
    minLength: 2,
    maxLength: 300,
  })
  const check = fc.property(
    vocabulary,
    fc.integer({ min: 1, max: 20 }),
    fc.double({ min: 0.01, max: 0.999, noNaN: true }),
    fc.double({ min: 0, max: 0.999999, noNaN: true }),
    (values, topK, topP, u) => {
      const all = Float32Array.from(values)
      fc.pre(all.some((value) => value > 0))
      const order = [...all.keys()].sort((a, b) => all[b]! - all[a]! || a - b).slice(0, topK)
      const sum = order.reduce((total, id) => total + all[id]!, 0)
      let reached = 0
      const kept = order.filter((id) => {
        const needed = reached < topP * sum
        reached += all[id]!
        return needed
      })
      const id = drawToken(all, { temperature: 1, topK, topP }, u)
      expect(kept).toContain(id)
      const only = drawToken(all, { temperature: 1, topP }, 0)
      expect(all[only]).toBe(Math.max(...all))
    },
  )
  fc.assert(check, { seed: 5, numRuns: 300 })
})

test("a draw never falls on a token without probability", () => {
  const sparse = Float32Array.of(0, 0, 0.5, 0, 0.5, 0)
  for (const u of [0, 0.25, 0.5, 0.75, 1 - 2 ** -53]) {
    expect([2, 4]).toContain(drawToken(sparse, { temperature: 1 }, u))
    expect([2, 4]).toContain(drawToken(sparse, { temperature: 1, topP: 0.99 }, u))
  }
})

test("greedy takes the first of equals", () => {
  expect(argMax(Float32Array.of(1, 3, 3, 2))).toBe(1)
  expect(argMax(Float32Array.of(-5, -7))).toBe(0)
})

describe("min-p and the repetition penalty", () => {
  test("only what is likely enough beside the likeliest is drawn", () => {
    const weights = Float32Array.from([0.5, 0.3, 0.15, 0.05])
    const drawn = (minP: number, more = {}) =>
      new Set(
        Array.from({ length: 400 }, (_, i) =>
          drawToken(weights, { temperature: 1, minP, ...more }, uniform(3, i)),
        ),
      )
    expect([...drawn(0.25)].sort()).toEqual([0, 1, 2])
    expect([...drawn(0.6)].sort()).toEqual([0, 1])
    expect([...drawn(1)]).toEqual([0])
    expect([...drawn(0)].sort()).toEqual([0, 1, 2, 3])
    expect([...drawn(0.25, { topK: 2 })].sort()).toEqual([0, 1])
  })

  test("positive logits are divided, negative ones multiplied", () => {
    const logits = Float32Array.from([2, -1, 1.5, 0])
    const temperature = 0.5
    const weights = logits.map((logit) => Math.exp((logit - 2) / temperature))
    penalizeSeen(weights, logits, new Set([0, 1]), { penalty: 2, temperature })
    const expected = [1, -2, 1.5, 0].map((logit) => Math.exp((logit - 2) / temperature))
    for (const [i, weight] of weights.entries()) expect(weight).toBeCloseTo(expected[i]!, 6)
    expect(penalizedArgMax(logits, new Set([0]), 2)).toBe(2)
    expect(penalizedArgMax(logits, new Set(), 2)).toBe(0)
  })
})
