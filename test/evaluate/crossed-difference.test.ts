import { describe, expect, test } from "vitest"
import { coverage, power } from "../../bench/statistics.ts"
import { crossedDifference, errorOf, holm } from "../../src/evaluate/crossed-difference.ts"
import { tCritical, tTwoSided } from "../../src/evaluate/student-t.ts"

/** scipy.stats.t 1.17.1: t.ppf(0.975, df) and 2 * t.sf(t, df). */
test.each([
  [1, 12.706204736174694, 12.7, 0.050024327689344165],
  [2.5, 3.5746548420036817, 0.3, 0.7873423714951973],
  [4, 2.7764451051977934, 2.8, 0.048811550548884114],
  [8.2, 2.2962506962329923, 4.5, 0.001881599260926445],
  [99, 1.9842169515864174, 1.98, 0.05047947597465229],
  [1500, 1.9615467538950184, 0.01, 0.9920226171339008],
])("df %f: the critical t and the tails are scipy's", (df, critical, t, tails) => {
  expect(tCritical(0.05, df) / critical).toBeCloseTo(1, 9)
  expect(tTwoSided(t, df) / tails).toBeCloseTo(1, 9)
})

describe("a table of problems and seeds", () => {
  test("of one seed is a paired t test over problems", () => {
    const values = [0.5, 0, 0.25, -0.25, 1, 0.5, 0, 0.75]
    const { p, ci95, seedsFixed } = crossedDifference(values.map((value) => [value]))
    // scipy.stats.ttest_1samp
    expect(p).toBeCloseTo(0.0543435703582893, 9)
    expect(ci95[0]).toBeCloseTo(-0.008427578677298209, 9)
    expect(seedsFixed).toBe(true)
  })

  test("whose runs differ more than its problems is no surer than so many runs", () => {
    const runs = [0.3, -0.1, 0.2, 0.4, -0.2]
    const table = Array.from({ length: 50 }, (_, i) => runs.map((run) => run + 0.01 * (i % 2)))
    const { degreesOfFreedom, p, seedsFixed } = crossedDifference(table)
    expect(seedsFixed).toBe(false)
    expect(degreesOfFreedom).toBeLessThan(4.1)
    expect(p).toBeGreaterThan(0.2)
  })

  // a half and no more of what chance has runs differ by: their small error is not to be trusted
  test("whose runs are alike has few degrees of freedom, unless they are far too alike", () => {
    const squares = { ofRows: 1, rest: 1 }
    const of = (ofColumns: number) =>
      errorOf({ ...squares, ofColumns }, { problems: 60, seeds: 5 }).degreesOfFreedom
    expect(of(0.4)).toBe(59)
    expect(of(0.7)).toBe(10)
    expect(of(1.2)).toBeLessThanOrEqual(10)
    expect(of(9)).toBeLessThan(5)
    expect(errorOf({ ...squares, ofColumns: 0.7 }, { problems: 6, seeds: 5 })).toEqual({
      total: 1,
      degreesOfFreedom: 5,
    })
  })

  test("without any difference claims none", () => {
    expect(crossedDifference([[0], [0], [0]])).toMatchObject({ difference: 0, p: 1, ci95: [0, 0] })
    expect(crossedDifference([]).p).toBe(1)
  })
})

describe("where all problems agree", () => {
  const same = (value: number, problems: number) =>
    crossedDifference(new Array(problems).fill([value]), { bound: 1 })

  test("the interval has a width, which problems make small", () => {
    // t.ppf(0.975, 81)^2 / (82 + t.ppf(0.975, 81)^2)
    const [low, high] = same(0, 82).ci95
    expect(high).toBeCloseTo(0.0460552, 6)
    expect(low).toBeCloseTo(-high, 12)
    expect(same(0, 82).p).toBe(1)
    const [least, most] = same(1, 82).ci95
    expect(most).toBe(1)
    expect(least).toBeCloseTo(1 - 2 * high, 12)
    expect(same(1, 2).ci95[0]).toBeLessThan(0)
  })

  test.each([2, 3, 4, 5, 6, 9, 20, 82])("p says of %i problems what the interval says", (P) => {
    for (const value of [1, -1, 0.5, -0.25]) {
      const { ci95, p } = same(value, P)
      expect(p < 0.05).toBe(ci95[0] > 0 || ci95[1] < 0)
    }
    // where it finds something, no surer than counting signs allows
    if (P > 3) expect(same(1, P).p).toBeGreaterThanOrEqual(2 ** (1 - P))
  })

  test("no interval of shares is beyond 100 points, and one of nats may be", () => {
    const table = [[1], [1], [1], [0.2]]
    expect(crossedDifference(table, { bound: 1 }).ci95[1]).toBe(1)
    expect(crossedDifference(table).ci95[1]).toBeGreaterThan(1)
    expect(crossedDifference([[3], [3]])).toMatchObject({ ci95: [3, 3], p: 0 })
  })
})

test("Holm's p values are those of R's p.adjust", () => {
  expect(holm([0.01, 0.04, 0.03, 0.005])).toEqual([0.03, 0.06, 0.06, 0.02])
  expect(holm([])).toEqual([])
})

describe("simulated studies (all 2,000: npm run bench -- statistics)", () => {
  const truth = { score: 0.4, spread: 0.25, problemEffect: 0.1, seedEffect: 0.06 }
  test.each([
    [{ problems: 60, seeds: 5, n: 2 }, truth],
    [
      { problems: 100, seeds: 2, n: 4 },
      { ...truth, seedEffect: 0, problemEffect: 0 },
    ],
  ])("intervals hold the truth and families stay true: %o", (sizes, one) => {
    const { t, family } = coverage(sizes, one, { studies: 300 })
    expect(t).toBeGreaterThan(0.91)
    expect(t).toBeLessThan(0.99)
    expect(family).toBeLessThan(0.11)
  })

  test.each([
    [{ problems: 60, seeds: 5, n: 2 }, truth],
    // the interval calls the runs fixed, and what is found varies with them all the same
    [
      { problems: 100, seeds: 1, n: 4 },
      { ...truth, seedEffect: 0.06 },
    ],
  ])("the difference that --plan promises is found: %o", (sizes, one) => {
    const { found } = power(sizes, one, { studies: 200, contrasts: 1 })
    expect(found).toBeGreaterThan(0.7)
    expect(found).toBeLessThan(0.9)
  })
})
