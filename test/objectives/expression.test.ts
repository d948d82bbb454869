import { expect, test } from "vitest"
import {
  type Columns,
  coefficients,
  constant,
  type Expression,
  emit,
  evaluate,
  evaluateAll,
  input,
  needs,
  reduceInputs,
  splitReductions,
  tokenObjective,
  where,
} from "../../src/objectives/index.ts"
import { float64Ops } from "./float64-ops.ts"

const logp = input("logp")
const entropy = input("entropy")
const one = Int32Array.of(0, 0, 0, 0)

/** Central differences of the value in one gradient input. */
function difference(f: Expression, columns: Columns, name: "logp" | "entropy", segments = one) {
  const h = 1e-6
  const shifted = (by: number) => {
    const column = (columns[name] as Float64Array).map((x) => x + by)
    return evaluate(f, { ...columns, [name]: column }, segments).loss
  }
  const [up, down] = [shifted(h), shifted(-h)]
  return up.map((value, t) => (value - down[t]!) / (2 * h))
}

const columns = {
  logp: Float64Array.of(-0.05, -0.7, -2.2, -6),
  entropy: Float64Array.of(0.2, 1.1, 2.4, 3.3),
}

const cases: { name: string; f: Expression }[] = [
  { name: "neg", f: logp.negate() },
  { name: "exp", f: logp.exp() },
  { name: "log", f: logp.negate().log() },
  { name: "sqrt", f: logp.negate().sqrt() },
  { name: "sigmoid", f: logp.sigmoid() },
  { name: "add", f: logp.exp().plus(entropy) },
  { name: "sub", f: entropy.minus(logp.exp()) },
  { name: "mul", f: logp.times(entropy) },
  { name: "mul by itself", f: logp.times(logp) },
  { name: "div", f: logp.over(entropy) },
  { name: "pow by a constant", f: logp.exp().power(1.7) },
  { name: "pow of a constant", f: constant(1.7).power(logp) },
  { name: "pow", f: entropy.power(logp) },
  { name: "min", f: logp.exp().min(0.3) },
  { name: "max", f: constant(0.3).max(logp.exp()) },
  { name: "min of two", f: logp.min(entropy.negate()) },
  { name: "max of two", f: logp.max(entropy.negate()) },
  { name: "where", f: where(logp.greater(-1), logp.exp(), logp.times(logp)) },
  { name: "clamp", f: logp.exp().clamp(0.1, 0.4).times(logp) },
  { name: "shared nodes", f: logp.exp().times(logp.exp().plus(logp)) },
  { name: "comparisons", f: logp.lessOrEqual(-1).times(logp).plus(logp.greaterOrEqual(-3)) },
]

test.each(cases)("derivative of $name matches finite differences", ({ f }) => {
  const { coefficients: found } = evaluate(f, columns, one)
  const expected = difference(f, columns, "logp")
  expected.forEach((value, t) => {
    expect(found.logp[t]).toBeCloseTo(value, 6)
  })
  const byEntropy = found.entropy ?? new Float64Array(4)
  const differences = difference(f, columns, "entropy")
  differences.forEach((value, t) => {
    expect(byEntropy[t]).toBeCloseTo(value, 6)
  })
})

test.each(cases)("$name emitted through tensors equals its evaluation", ({ f }) => {
  const emitted = emit(f, float64Ops(4), columns)
  const judged = evaluate(f, columns, one)
  expect(emitted.loss).toEqual(judged.loss)
  const byLogp = emitted.coefficients.logp ?? new Float64Array(4)
  byLogp.forEach((value, t) => {
    expect(value).toBeCloseTo(judged.coefficients.logp[t]!, 14)
  })
  expect(emitted.coefficients.entropy).toEqual(judged.coefficients.entropy)
})

test("detach keeps the value and stops the derivative", () => {
  const dft = logp.exp().detach().times(logp).negate()
  const { loss, coefficients } = evaluate(dft, columns, one)
  columns.logp.forEach((x, t) => {
    expect(loss[t]).toBeCloseTo(-Math.exp(x) * x, 15)
    expect(coefficients.logp[t]).toBeCloseTo(-Math.exp(x), 15)
  })
  expect(coefficients.entropy).toBeUndefined()
})

test("0 times infinity is 0, in value and in derivative", () => {
  const at = { logp: Float64Array.of(-Infinity, -1000, 0), entropy: Float64Array.of(0, 0, 0) }
  const objectives = [
    logp.exp().detach().times(logp).negate(),
    logp.exp().times(logp),
    constant(1).minus(logp.exp()).power(0.5).times(logp),
    logp.exp().sqrt().times(logp),
  ]
  for (const f of objectives) {
    const { loss, coefficients } = evaluate(f, at, Int32Array.of(0, 0, 0))
    expect(loss.slice(1).every(Number.isFinite)).toBe(true)
    expect(coefficients.logp.some(Number.isNaN)).toBe(false)
    const emitted = emit(f, float64Ops(3), at)
    expect(emitted.loss).toEqual(loss)
    expect(emitted.coefficients.logp!.some(Number.isNaN)).toBe(false)
  }
})

test("min and max give half to each argument at a tie, as PyTorch does", () => {
  const at = { logp: Float64Array.of(-1), entropy: Float64Array.of(-1) }
  for (const f of [logp.min(entropy), logp.max(entropy)]) {
    const { coefficients } = evaluate(f, at, [0])
    expect([coefficients.logp[0], coefficients.entropy![0]]).toEqual([0.5, 0.5])
  }
})

const segments = Int32Array.of(0, 1, 1, 0, 2)
const perToken = { logp: Float64Array.of(-1, -2, -4, -5, -0.5) }

test("reductions over sequences and the batch", () => {
  const mean = logp.detach().sequenceMean()
  const [means, sums, median] = evaluateAll(
    [mean, logp.detach().sequenceSum(), mean.detach().batchMedian()],
    perToken,
    segments,
  )
  expect([...means!]).toEqual([-3, -3, -3, -3, -0.5])
  expect([...sums!]).toEqual([-6, -6, -6, -6, -0.5])
  expect([...median!]).toEqual([-3, -3, -3, -3, -3])
})

test("a median of an even number of sequences is the lower middle", () => {
  const median = logp.detach().batchMedian()
  const [values] = evaluateAll([median], { logp: Float64Array.of(4, 1, 3, 2) }, [0, 1, 2, 3])
  expect([...values!]).toEqual([2, 2, 2, 2])
})

test("a median refuses what is not one value per sequence", () => {
  const median = logp.detach().batchMedian()
  expect(() => evaluateAll([median], perToken, segments)).toThrow("one value per sequence")
})

test("a reduction of something not detached is refused where it is built", () => {
  expect(() => logp.sequenceMean()).toThrow("must be a detach")
  expect(() => logp.detach().sequenceMean().batchMedian()).toThrow("must be a detach")
})

test("reductions split out and fed back give the same value and coefficients", () => {
  const tau = logp.negate().detach().sequenceMean().detach().batchMedian()
  const f = logp.exp().power(constant(1).over(tau)).detach().times(logp.negate())
  const split = splitReductions(f)
  expect(split.reductions.map(({ op }) => op)).toEqual(["sequence_mean", "batch_median"])
  const reduced = reduceInputs(split, perToken, segments)
  const whole = evaluate(f, perToken, segments)
  // Each micro-batch alone sees one sequence, yet its numbers are the whole step's.
  for (const sequence of [0, 1, 2]) {
    const tokens = [...segments.keys()].filter((t) => segments[t] === sequence)
    const part = (column: Float64Array) => Float64Array.from(tokens, (t) => column[t]!)
    const inputs = Object.fromEntries(
      Object.entries({ ...perToken, ...reduced }).map(([name, column]) => [name, part(column)]),
    )
    const emitted = emit(split.expression, float64Ops(tokens.length), inputs)
    expect(emitted.loss).toEqual(part(whole.loss))
    expect(emitted.coefficients.logp).toEqual(part(whole.coefficients.logp))
  }
})

test("emit refuses a reduction that was not split out", () => {
  const f = logp.detach().sequenceMean().times(logp)
  expect(() => emit(f, float64Ops(5), perToken)).toThrow("split out")
})

test("an input that is needed and missing is named", () => {
  expect(() => evaluate(input("ref_logp").times(logp), perToken, segments)).toThrow("ref_logp")
})

test("numbers of the run broadcast", () => {
  const f = input("progress").times(logp)
  const { loss } = evaluate(f, { ...perToken, progress: 0.5 }, segments)
  expect([...loss]).toEqual([-0.5, -1, -2, -2.5, -0.25])
})

test("needs names what must be computed", () => {
  const anchored = logp.negate().plus(input("kl_ref").times(0.1))
  expect(needs(anchored)).toEqual({
    inputs: new Set(["logp", "kl_ref"]),
    gradients: new Set(["logp", "kl_ref"]),
    critic: false,
    reference: true,
    wholeReference: true,
    firstPass: false,
  })
  const weighted = entropy.detach().times(logp.detach().sequenceSum()).times(logp)
  expect(needs(weighted)).toEqual({
    inputs: new Set(["logp", "entropy"]),
    gradients: new Set(["logp"]),
    critic: false,
    reference: false,
    wholeReference: false,
    firstPass: true,
  })
})

test("an objective that trains nothing is refused", () => {
  expect(() => tokenObjective("none", ({ p }) => p.detach())).toThrow("no gradient")
})

test("a derivative is as short as its formula", () => {
  const dft = logp.exp().detach().times(logp).negate()
  const { logp: coefficient } = coefficients(dft)
  expect(coefficient!.op).toBe("neg")
  expect(coefficient!.args[0]!.op).toBe("detach")
})
