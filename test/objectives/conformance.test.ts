/**
 * docs/method.md, 4: what any implementation of DFT must hold to, and (marked "peers") the faults
 * that were found in the wild, shown to be told apart by these tests.
 */
import { expect, test } from "vitest"
import {
  type Expression,
  evaluate,
  input,
  objectiveFromConfig,
  tokenScales,
} from "../../src/objectives/index.ts"
import { logSoftmax, lossAndGradient, normal, type Rows } from "./vocabulary.ts"

const V = 7
const random = normal(5)
const randomRows = (T: number, scale = 2): Rows => ({
  logits: Array.from({ length: T }, () => Array.from({ length: V }, () => scale * random())),
  labels: Array.from({ length: T }, (_, t) => t % V),
  lossMask: Array.from({ length: T }, () => 1),
})
const rows = randomRows(12)
const expression = (name: string, more = {}) => objectiveFromConfig({ name, ...more }).expression
const [sft, dft] = [expression("sft"), expression("dft")]
const logp = input("logp")
const single = (f: Expression, p: number) =>
  evaluate(f, { logp: Float64Array.of(Math.log(p)) }, [0])

function same(a: readonly Float64Array[], b: readonly Float64Array[], digits = 14): void {
  a.forEach((row, t) => {
    row.forEach((value, v) => {
      expect(value).toBeCloseTo(b[t]![v]!, digits)
    })
  })
}

/** Central differences of the sum in every logit. */
function differences(f: Expression, of: Rows): Float64Array[] {
  const h = 1e-6
  return of.logits.map((row, t) => {
    return Float64Array.from(row, (_, v) => {
      const at = (by: number) => {
        const logits = of.logits.map((other, s) => {
          return s === t ? other.map((x, w) => (w === v ? x + by : x)) : other
        })
        return lossAndGradient(f, { ...of, logits }).sum
      }
      return (at(h) - at(-h)) / (2 * h)
    })
  })
}

test("1: the gradient is p times cross-entropy's, sums to 0, and ignores a constant added to z", () => {
  const [plain, weighted] = [lossAndGradient(sft, rows), lossAndGradient(dft, rows)]
  weighted.gradient.forEach((row, t) => {
    const p = Math.exp(plain.logp[t]!)
    row.forEach((value, v) => {
      expect(value).toBeCloseTo(p * plain.gradient[t]![v]!, 15)
    })
    expect(row.reduce((a, b) => a + b, 0)).toBeCloseTo(0, 15)
  })
  const shifted = { ...rows, logits: rows.logits.map((row, t) => row.map((z) => z + 100 * t)) }
  same(lossAndGradient(dft, shifted).gradient, weighted.gradient, 12)
})

test("2: the gradient is that of -p and of 1 - p, by finite differences, and not of the reported value", () => {
  const { gradient } = lossAndGradient(dft, rows)
  same(differences(logp.exp().negate(), rows), gradient, 8)
  same(lossAndGradient(expression("alpha", { a: 1 }), rows).gradient, gradient)
  const ofValue = differences(dft, rows)
  const apart = ofValue.flatMap((row, t) => [...row.map((x, v) => Math.abs(x - gradient[t]![v]!))])
  expect(Math.max(...apart)).toBeGreaterThan(0.1)
})

test.each([
  ["focal", {}],
  ["luffy", {}],
  ["alpha", { a: 3 }],
] as const)("2: the direct objective %s has the gradient of its own value", (name, more) => {
  const f = expression(name, more)
  same(differences(f, rows), lossAndGradient(f, rows).gradient, 8)
})

test("3: the value is c e^-c, at most 1/e, at p = 1/e, not monotone, never above c", () => {
  const grid = Array.from({ length: 999 }, (_, k) => (k + 1) / 1000)
  const values = grid.map((p) => single(dft, p).loss[0]!)
  values.forEach((value, k) => {
    const c = -Math.log(grid[k]!)
    expect(value).toBeCloseTo(c * Math.exp(-c), 14)
    expect(value).toBeLessThanOrEqual(c)
  })
  expect(single(dft, 1 / Math.E).loss[0]).toBeCloseTo(1 / Math.E, 14)
  expect(Math.max(...values)).toBeLessThanOrEqual(1 / Math.E)
  expect(values[9]).toBeLessThan(values[367]!)
  expect(values[998]).toBeLessThan(values[367]!)
  const uniform = { logits: [Array(V).fill(0.3)], labels: [2], lossMask: [1] }
  expect(lossAndGradient(dft, uniform).sum).toBeCloseTo(Math.log(V) / V, 14)
})

test("4: both ends of p, and the bounds of the gradient's norms", () => {
  const near1 = single(dft, 1 - 1e-9)
  expect(near1.loss[0]! / 1e-9).toBeCloseTo(1, 6)
  expect(near1.coefficients.logp[0]).toBeCloseTo(-1, 8)
  const near0 = single(dft, 1e-12)
  expect(near0.coefficients.logp[0]).toBeCloseTo(-1e-12, 20)
  for (const [t, row] of lossAndGradient(dft, randomRows(200, 4)).gradient.entries()) {
    const target = Math.abs(row[t % V]!)
    expect(target).toBeLessThanOrEqual(0.25 + 1e-15)
    const l1 = row.reduce((sum, x) => sum + Math.abs(x), 0)
    expect(l1).toBeCloseTo(2 * target, 14)
    const l2 = Math.hypot(...row)
    expect(l2).toBeLessThanOrEqual(Math.SQRT2 * target + 1e-15)
  }
})

test.each([
  { weight: { a: 1, b: 1 }, f: logp.exp().negate().plus(1).power(2).over(2), as: "(1 - p)^2 / 2" },
  { weight: { a: 3, b: 0 }, f: logp.times(3).exp().over(-3), as: "-p^3 / 3" },
  { weight: { a: 0.5, b: 0 }, f: logp.times(0.5).exp().over(-0.5), as: "-2 sqrt(p)" },
])("5: a detached weight has the gradient of f with f' = -w / p: $as", ({ weight, f }) => {
  const weighted = lossAndGradient(expression("power", weight), rows).gradient
  same(weighted, lossAndGradient(f, rows).gradient)
  same(differences(f, rows), weighted, 8)
})

test("6 (peers): without detach the gradient is (1 + ln p) that of -p, and pushes unlikely targets down", () => {
  const forgotten = logp.exp().times(logp).negate()
  for (const p of [0.01, 0.1, 0.3, 0.36, 0.38, 0.6, 0.9]) {
    const right = single(dft, p)
    const wrong = single(forgotten, p)
    expect(wrong.loss[0]).toBe(right.loss[0])
    const ratio = wrong.coefficients.logp[0]! / right.coefficients.logp[0]!
    expect(ratio).toBeCloseTo(1 + Math.log(p), 12)
    expect(ratio < 0).toBe(p < 1 / Math.E)
  }
  expect(single(forgotten, 0.01).coefficients.logp[0]! / 0.01).toBeCloseTo(3.605, 3)
})

test("7: positions not supervised influence nothing, be they NaN", () => {
  const lossMask = rows.labels.map((_, t) => t % 2)
  const masked = lossAndGradient(dft, { ...rows, lossMask })
  const spoilt = rows.logits.map((row, t) => (lossMask[t] === 1 ? row : row.map(() => Number.NaN)))
  const other = lossAndGradient(dft, { ...rows, lossMask, logits: spoilt })
  expect(other.sum).toBe(masked.sum)
  expect(other.gradient).toEqual(masked.gradient)
  expect(
    other.gradient.filter((_, t) => lossMask[t] === 0).every((row) => row.every((x) => x === 0)),
  ).toBe(true)
})

test("7: nothing supervised is loss 0 and gradient 0", () => {
  const nothing = lossAndGradient(dft, { ...rows, lossMask: rows.labels.map(() => 0) })
  expect([nothing.sum, nothing.count]).toEqual([0, 0])
  expect(nothing.gradient.every((row) => row.every((x) => x === 0))).toBe(true)
  expect(tokenScales("tokens", { segments: [], microBatches: [], weights: [] })).toHaveLength(0)
})

// Eight sequences of 40 to 1900 tokens, each with a gradient of its own: the memo's
// counter-example.
const lengths = [40, 1900, 75, 600, 130, 1200, 55, 300]
const segments = lengths.flatMap((length, s) => Array<number>(length).fill(s))
const signs = normal(11)
const means = lengths.map(() => signs())
const gradients = segments.map((s) => means[s]! + signs())
const weights = segments.map((s) => 0.1 + 0.1 * s)
const total = (scales: Float64Array) => scales.reduce((sum, x, t) => sum + x * gradients[t]!, 0)
const batched = (size: number) => segments.map((s) => Math.floor(s / size))

test("8: every normalization but the paper's is the same under any split into micro-batches", () => {
  for (const name of ["tokens", "sequences", "weights"] as const) {
    const whole = total(tokenScales(name, { segments, microBatches: batched(8), weights }))
    for (const size of [1, 2, 4]) {
      const split = total(tokenScales(name, { segments, microBatches: batched(size), weights }))
      expect(split).toBe(whole)
    }
  }
})

test("8: a sum over parts is the sum over the whole to rounding, in value and gradient", () => {
  const whole = lossAndGradient(dft, rows)
  const parts = [0, 5, 6].map((start, k, starts) => {
    const end = starts[k + 1] ?? 12
    const part = (column: readonly number[]) => column.slice(start, end)
    return lossAndGradient(dft, {
      logits: rows.logits.slice(start, end),
      labels: part(rows.labels),
      lossMask: part(rows.lossMask),
    })
  })
  const sum = parts.reduce((a, { sum }) => a + sum, 0)
  expect(sum / 12).toBeCloseTo(whole.sum / 12, 15)
  expect(parts.flatMap(({ gradient }) => gradient)).toEqual(whole.gradient)
})

test("8 (peers): the mean of means and the sum of means are not the global mean", () => {
  const global = total(tokenScales("tokens", { segments, microBatches: batched(1), weights }))
  const sumOfMeans = total(tokenScales("paper", { segments, microBatches: batched(1), weights }))
  const meanOfMeans = sumOfMeans / 8
  expect(Math.abs(meanOfMeans / global - 1)).toBeGreaterThan(0.1)
  // For the same gradient on every token the sum of means is as many times too long as there are
  // micro-batches.
  const ones = tokenScales("paper", { segments, microBatches: batched(2), weights })
  expect(ones.reduce((a, b) => a + b, 0)).toBeCloseTo(4, 12)
  const sequences = total(tokenScales("sequences", { segments, microBatches: batched(1), weights }))
  expect(sequences).toBeCloseTo(meanOfMeans, 14)
})

test("9: the divisor is the number of tokens, not the sum of weights, unless asked for", () => {
  const two = { segments: [0, 0], microBatches: [0, 0], weights: [0.1, 0.3] }
  expect([...tokenScales("tokens", two)]).toEqual([0.5, 0.5])
  expect([...tokenScales("weights", two)]).toEqual([2.5, 2.5])
  expect([...tokenScales("weights", { ...two, weights: [0, 0] })]).toEqual([0, 0])
})

test("12: exp(-c) is a second softmax, and p = 0 is harmless", () => {
  for (const row of rows.logits) {
    const top = Math.max(...row)
    const sum = row.reduce((total, z) => total + Math.exp(z - top), 0)
    const logprobs = logSoftmax(row)
    row.forEach((z, v) => {
      expect(Math.exp(logprobs[v]!)).toBeCloseTo(Math.exp(z - top) / sum, 15)
    })
  }
  const impossible = { logits: [[0, -Infinity, 0]], labels: [1], lossMask: [1] }
  const { sum, gradient } = lossAndGradient(dft, impossible)
  expect(Math.abs(sum)).toBe(0)
  expect(gradient[0]!.every((x) => Math.abs(x) === 0)).toBe(true)
})

test("13 (peers): exp(-loss) is not p under label smoothing", () => {
  const smoothing = 0.1
  for (const [t, row] of rows.logits.entries()) {
    const logprobs = logSoftmax(row)
    const nll = -logprobs[rows.labels[t]!]!
    const uniform = -logprobs.reduce((a, b) => a + b, 0) / V
    const smoothed = (1 - smoothing) * nll + smoothing * uniform
    const right = -single(dft, Math.exp(-nll)).coefficients.logp[0]!
    expect(right).toBeCloseTo(Math.exp(-nll), 14)
    expect(Math.abs(Math.exp(-smoothed) / right - 1)).toBeGreaterThan(0.001)
  }
})

test("15: the anchor is 0 with gradient 0 at the reference itself, and pulls towards it elsewhere", () => {
  const anchored = expression("asft", { lambda: 0.5 })
  const itself = rows.logits.map(logSoftmax)
  const atStart = lossAndGradient(anchored, { ...rows, reference: itself })
  const plain = lossAndGradient(dft, rows)
  expect(atStart.sum).toBeCloseTo(plain.sum, 12)
  same(atStart.gradient, plain.gradient)
  const reference = rows.logits.map((row) => logSoftmax(row.map((z) => z + random())))
  const moved = lossAndGradient(anchored, { ...rows, reference })
  moved.gradient.forEach((row, t) => {
    row.forEach((value, v) => {
      const pull = 0.5 * (Math.exp(itself[t]![v]!) - Math.exp(reference[t]![v]!))
      expect(value - plain.gradient[t]![v]!).toBeCloseTo(pull, 13)
    })
  })
  const onlyAnchor = input("kl_ref").times(0.5)
  same(
    differences(onlyAnchor, { ...rows, reference }),
    lossAndGradient(onlyAnchor, { ...rows, reference }).gradient,
    8,
  )
})

test("an entropy term carries its gradient to the logits", () => {
  const f = input("entropy").times(logp.exp()).negate()
  same(differences(f, rows), lossAndGradient(f, rows).gradient, 8)
})
