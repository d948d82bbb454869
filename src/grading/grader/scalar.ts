import { randomStream } from "../../random.ts"
import { type Complex, isFiniteNumber, magnitude } from "./complex.ts"
import { freeSymbols, hasDecimal, hasInfinity, type MathExpression } from "./math-expression.ts"
import { residues, sameResidues } from "./modular.ts"
import { numericValue, type Point } from "./numeric.ts"

/** Equal, different, or undefined: neither could be shown. */
export interface Judgement {
  readonly equal: boolean | undefined
  readonly reason: string
}

/** Relative tolerances; the first is for rounding in our own arithmetic. */
export const TOLERANCE = {
  floating: 1e-9,
  /** A decimal against an integer or another exact value that is one. */
  integer: 1e-6,
  /** Lenient: a decimal against a decimal, a fraction or a root. */
  decimal: 1e-4,
} as const

const POINTS = 7

/**
 * The symbols' values at test point `index`: the first four are positive, the others of both signs.
 */
function testPoint(index: number): Point {
  const values = new Map<string, number>()
  return (name) => {
    let value = values.get(name)
    if (value === undefined) {
      const u = randomStream(index, name)
      const size = 0.3 + 2 * u()
      value = index >= 4 && u() < 0.6 ? -size : size
      values.set(name, value)
    }
    return value
  }
}

/**
 * Whether two values agree to a relative tolerance, or to the rounding of their own computation.
 */
export function closeTo(a: Complex, b: Complex, relative: number): boolean {
  const difference = Math.hypot(a.re - b.re, a.im - b.im)
  const rounding = 1e-12 * Math.max(a.scale, b.scale)
  return difference <= Math.max(relative * Math.max(magnitude(a), magnitude(b)), rounding)
}

/**
 * Whether two scalar expressions are equal. Rational ones are decided exactly (modulo primes);
 * others by their floating-point values at seven fixed points.
 *
 * @param lenient decimals may be rounded (see TOLERANCE).
 */
export function compareScalars(
  a: MathExpression,
  b: MathExpression,
  { lenient }: { lenient: boolean },
): Judgement {
  if (hasInfinity(a) || hasInfinity(b)) return compareInfinite(a, b)
  const [exactA, exactB] = [residues(a), residues(b)]
  if (exactA && exactB && sameResidues(exactA, exactB)) {
    return { equal: true, reason: "equal exactly" }
  }
  const constant = freeSymbols(a).size === 0 && freeSymbols(b).size === 0
  const rounded = lenient && constant && (hasDecimal(a) || hasDecimal(b))
  if (exactA && exactB && !rounded) return { equal: false, reason: "different values" }
  if (rounded) return compareRounded(a, b)
  return compareAtPoints(a, b)
}

/**
 * Infinity takes part in no arithmetic: `\\infty - \\infty` and `0 \\cdot \\infty` have no value.
 */
function compareInfinite(a: MathExpression, b: MathExpression): Judgement {
  const [x, y] = [infiniteSign(a), infiniteSign(b)]
  if (x === undefined || y === undefined) {
    return undecided("an expression with infinity has no value")
  }
  return x === y
    ? { equal: true, reason: x === 0 ? "neither is infinite" : "the same infinity" }
    : { equal: false, reason: "one is infinite" }
}

/** 1 and -1 for the infinities, 0 for what has none in it, undefined for an indeterminate form. */
function infiniteSign(x: MathExpression): 0 | 1 | -1 | undefined {
  if (!hasInfinity(x)) return 0
  if (x.op === "symbol") return 1
  if (x.op !== "add" && x.op !== "multiply") return undefined
  const signs = x.args.map(infiniteSign)
  if (signs.includes(undefined)) return undefined
  if (x.op === "add") {
    const infinite = new Set(signs.filter((sign) => sign !== 0))
    return infinite.size === 1 ? [...infinite][0] : undefined
  }
  let product: 1 | -1 = 1
  for (const [i, sign] of signs.entries()) {
    const factor = sign === 0 ? Math.sign(numericOf(x.args[i]!)) : sign!
    if (factor !== 1 && factor !== -1) return undefined
    product = product === factor ? 1 : -1
  }
  return product
}

function compareRounded(a: MathExpression, b: MathExpression): Judgement {
  const [x, y] = [a, b].map((side) => numericValue(side, () => Number.NaN)) as [Complex, Complex]
  if (!isFiniteNumber(x) || !isFiniteNumber(y))
    return undecided("a value is out of floating-point range")
  const whole = [a, b].some((side) => !hasDecimal(side) && Number.isInteger(numericOf(side)))
  const relative = whole ? TOLERANCE.integer : TOLERANCE.decimal
  return closeTo(x, y, relative)
    ? { equal: true, reason: `equal within ${relative} relative (a decimal may be rounded)` }
    : { equal: false, reason: `different values: ${show(x)} and ${show(y)}` }
}

const numericOf = (x: MathExpression): number => numericValue(x, () => Number.NaN).re

function compareAtPoints(a: MathExpression, b: MathExpression): Judgement {
  let compared = 0
  for (let index = 0; index < POINTS; index++) {
    const point = testPoint(index)
    const [x, y] = [numericValue(a, point), numericValue(b, point)]
    if (isFiniteNumber(x) !== isFiniteNumber(y)) continue // a removable hole, or one form's overflow
    if (!isFiniteNumber(x)) continue
    if (!closeTo(x, y, TOLERANCE.floating)) {
      return { equal: false, reason: `different values: ${show(x)} and ${show(y)} at a test point` }
    }
    compared++
  }
  return compared >= 2
    ? { equal: true, reason: `equal at ${compared} test points` }
    : undecided("no floating-point value at the test points")
}

const undecided = (reason: string): Judgement => ({ equal: undefined, reason })

const show = ({ re, im }: Complex): string => {
  const part = (x: number): string => String(Number(x.toPrecision(6)))
  return Math.abs(im) < 1e-12 ? part(re) : `${part(re)}${im < 0 ? "-" : "+"}${part(Math.abs(im))}i`
}

/**
 * The constant c with a = c * b at every test point, if there is one (equations up to a factor).
 */
export function constantRatio(a: MathExpression, b: MathExpression): number | undefined {
  let ratio: number | undefined
  let compared = 0
  for (let index = 0; index < POINTS; index++) {
    const point = testPoint(index)
    const [x, y] = [numericValue(a, point), numericValue(b, point)]
    if (!isFiniteNumber(x) || !isFiniteNumber(y) || magnitude(y) === 0 || magnitude(x) === 0)
      continue
    const quotient = x.re / y.re
    const expected = ratio ?? quotient
    if (!Number.isFinite(quotient) || Math.abs(x.im - expected * y.im) > 1e-9 * magnitude(x)) {
      return undefined
    }
    if (Math.abs(quotient - expected) > TOLERANCE.floating * Math.abs(expected)) return undefined
    ratio = expected
    compared++
  }
  return compared >= 3 ? ratio : undefined
}
