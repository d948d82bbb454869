import { expect, test } from "vitest"
import {
  averageAtN,
  bootstrapInterval,
  majorityCorrect,
  meanPassAtK,
  pairedDifference,
  paperScore,
  passAtK,
} from "../../src/evaluate/index.ts"
import { fc } from "../seeded-check.ts"

const outcomes = (correct: number, n: number): boolean[] =>
  Array.from({ length: n }, (_, i) => i < correct)

/** The definition: the share of k-subsets of the samples that hold a correct one. */
function passBySubsets(n: number, c: number, k: number): number {
  let hit = 0
  let all = 0
  for (let set = 0; set < 2 ** n; set++) {
    let size = 0
    for (let i = 0; i < n; i++) size += (set >> i) & 1
    if (size !== k) continue
    all++
    if ((set & (2 ** c - 1)) !== 0) hit++
  }
  return hit / all
}

test("pass@k is the share of k-subsets with a correct sample", () => {
  for (let n = 1; n <= 8; n++)
    for (let c = 0; c <= n; c++)
      for (let k = 1; k <= n; k++) expect(passAtK(n, c, k)).toBeCloseTo(passBySubsets(n, c, k), 12)
  expect(passAtK(2, 1, 3)).toBeNaN()
})

test("pass@1 is avg@n, and pass@k grows with k", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(8), { minLength: 1, maxLength: 12 }), (counts) => {
      const problems = counts.map((c) => outcomes(c, 8))
      expect(meanPassAtK(problems, 1)).toBeCloseTo(averageAtN(problems), 12)
      expect(meanPassAtK(problems, 4)).toBeGreaterThanOrEqual(meanPassAtK(problems, 2) - 1e-12)
    }),
    { seed: 3 },
  )
})

test("the bootstrap interval is seeded, holds the mean, and matches the normal approximation", () => {
  const problems = Array.from({ length: 400 }, (_, i) => outcomes(i % 5, 4))
  const [low, high] = bootstrapInterval(problems, { seed: 1 })
  expect(bootstrapInterval(problems, { seed: 1 })).toEqual([low, high])
  expect(bootstrapInterval(problems, { seed: 2 })).not.toEqual([low, high])
  const mean = averageAtN(problems)
  expect(low).toBeLessThan(mean)
  expect(high).toBeGreaterThan(mean)
  // scores 0, 1/4, ... 1 in equal parts: variance 1/8, standard error sqrt(1/8/400)
  expect(high - low).toBeCloseTo(2 * 1.96 * Math.sqrt(1 / 8 / 400), 2)
})

test("samples of one problem are no independent evidence: 16 samples of 4 problems stay wide", () => {
  const [low, high] = bootstrapInterval([1, 1, 0, 0].map((c) => outcomes(16 * c, 16)))
  expect([low, high]).toEqual([0, 1])
})

test("a paired difference tells signal from noise", () => {
  const a = new Map(Array.from({ length: 200 }, (_, i) => [String(i), outcomes(i % 3, 4)] as const))
  const better = new Map([...a].map(([id, o]) => [id, outcomes(o.filter(Boolean).length + 1, 4)]))
  expect(pairedDifference(a, better)).toMatchObject({ exceedsNoise: true, problems: 200, p: 0 })
  expect(pairedDifference(a, better).difference).toBeCloseTo(0.25, 12)
  const shuffled = new Map([...a].map(([id], i) => [id, outcomes((i + 1) % 3, 4)]))
  expect(pairedDifference(a, shuffled).exceedsNoise).toBe(false)
  expect(pairedDifference(a, new Map()).problems).toBe(0)
})

test("majority vote: correct writings are one party, silence abstains, a tie goes to the first", () => {
  const vote = (answer: string | null, correct = false) => ({ answer, correct })
  expect(majorityCorrect([vote("1/2", true), vote("0.5", true), vote("3")])).toBe(true)
  expect(majorityCorrect([vote("3"), vote(" 3 "), vote("1/2", true)])).toBe(false)
  expect(majorityCorrect([vote(null), vote(null), vote("2", true)])).toBe(true)
  expect(majorityCorrect([vote("3"), vote("2", true)])).toBe(false)
  expect(majorityCorrect([vote(null)])).toBe(false)
})

test("the paper's figure rounds each column: 6 of 480 reads 1.24, not 1.25 (docs/method.md, 1.4)", () => {
  // AIME24: 30 problems, 16 columns; 6 columns with one correct answer are 3.3 each
  const problems = Array.from({ length: 30 }, (_, i) =>
    Array.from({ length: 16 }, (_, column) => i === column && column < 6),
  )
  expect(paperScore(problems)).toBeCloseTo(1.2375, 6)
  expect(100 * averageAtN(problems)).toBeCloseTo(1.25, 6)
})
