import {
  add,
  type Complex,
  complex,
  cos,
  divide,
  exp,
  gamma,
  I,
  isFiniteNumber,
  isReal,
  log,
  magnitude,
  multiply,
  negate,
  power,
  sin,
  sqrt,
} from "./complex.ts"
import { gcd, type MathExpression } from "./math-expression.ts"
import { exactInteger } from "./modular.ts"

/** Values of the free symbols; a missing one is undefined behaviour of the caller. */
export type Point = (name: string) => number

const MAX_TERMS = 1_000

/** Shared by one evaluation: nested sums multiply, so their terms are counted together. */
interface Budget {
  terms: number
}

/** The expression's value at a point, in floating point; NaN where it has none. */
export function numericValue(x: MathExpression, point: Point): Complex {
  return valueAt(x, point, { terms: 20 * MAX_TERMS })
}

function valueAt(x: MathExpression, point: Point, budget: Budget): Complex {
  switch (x.op) {
    case "number":
      return complex(ratio(x.numerator, x.denominator))
    case "symbol":
      return CONSTANTS.get(x.name) ?? complex(point(x.name))
    case "add":
      return x.args.map((arg) => valueAt(arg, point, budget)).reduce(add, complex(0))
    case "multiply":
      return x.args.map((arg) => valueAt(arg, point, budget)).reduce(multiply, complex(1))
    case "power":
      return power(valueAt(x.args[0], point, budget), valueAt(x.args[1], point, budget))
    case "matrix":
      return complex(Number.NaN)
    case "call": {
      if (x.name === "Sum" || x.name === "Product") return series(x.name, x.args, point, budget)
      const args = x.args.map((arg) => valueAt(arg, point, budget))
      const known = FUNCTIONS.get(x.name)
      return known ? known(args) : opaque(x.name, args, point)
    }
  }
}

const CONSTANTS: ReadonlyMap<string, Complex> = new Map([
  ["Pi", complex(Math.PI)],
  ["e", complex(Math.E)],
  ["ExponentialE", complex(Math.E)],
  ["i", I],
  ["ImaginaryUnit", I],
  ["PositiveInfinity", complex(Number.POSITIVE_INFINITY)],
])

const NAN = complex(Number.NaN)
type Numeric = (args: readonly Complex[]) => Complex

const unary =
  (f: (x: Complex) => Complex): Numeric =>
  ([x]) =>
    x === undefined ? NAN : f(x)

const real =
  (f: (...args: number[]) => number): Numeric =>
  (args) =>
    args.length > 0 && args.every(isReal) ? complex(f(...args.map((arg) => arg.re))) : NAN

const whole = (f: (a: bigint, b: bigint) => bigint): Numeric =>
  real((...args) =>
    args.length === 2 && args.every((n) => Number.isSafeInteger(n))
      ? Number(f(BigInt(args[0]!), BigInt(args[1]!)))
      : Number.NaN,
  )

const one = complex(1)
const factorial = (x: Complex): Complex => gamma(add(x, one))
const tan = (x: Complex): Complex => divide(sin(x), cos(x))
const logarithm: Numeric = ([x, base]) =>
  x === undefined ? NAN : divide(log(x), log(base ?? complex(10)))

const FUNCTIONS: ReadonlyMap<string, Numeric> = new Map<string, Numeric>([
  ["Sqrt", unary(sqrt)],
  ["Root", ([x, n]) => (x && n ? realRoot(x, n) : NAN)],
  ["Exp", unary(exp)],
  ["Ln", unary(log)],
  ["Log", logarithm],
  ["Lb", unary((x) => divide(log(x), log(complex(2))))],
  ["Sin", unary(sin)],
  ["Cos", unary(cos)],
  ["Tan", unary(tan)],
  ["Cot", unary((x) => divide(cos(x), sin(x)))],
  ["Sec", unary((x) => divide(one, cos(x)))],
  ["Csc", unary((x) => divide(one, sin(x)))],
  ["Sinh", unary((x) => divide(add(exp(x), negate(exp(negate(x)))), complex(2)))],
  ["Cosh", unary((x) => divide(add(exp(x), exp(negate(x))), complex(2)))],
  ["Arcsin", real(Math.asin)],
  ["Arccos", real(Math.acos)],
  ["Arctan", real(Math.atan)],
  ["Abs", unary((x) => complex(magnitude(x), 0, x.scale))],
  ["Real", unary((x) => complex(x.re, 0, x.scale))],
  ["Imaginary", unary((x) => complex(x.im, 0, x.scale))],
  ["Conjugate", unary((x) => complex(x.re, -x.im, x.scale))],
  ["Floor", real((x) => Math.floor(nearInteger(x)))],
  ["Ceil", real((x) => Math.ceil(nearInteger(x)))],
  ["Round", real(Math.round)],
  ["Sign", real(Math.sign)],
  ["Max", real(Math.max)],
  ["Min", real(Math.min)],
  ["GCD", whole(gcd)],
  ["LCM", whole((a, b) => (a * b) / gcd(a, b))],
  ["Mod", whole((a, b) => (b === 0n ? 0n : ((a % b) + b) % b))],
  ["Factorial", unary(factorial)],
  [
    "Binomial",
    ([n, k]) =>
      n && k ? divide(factorial(n), multiply(factorial(k), factorial(add(n, negate(k))))) : NAN,
  ],
  ["Degrees", unary((x) => multiply(x, complex(Math.PI / 180)))],
])

const nearInteger = (x: number): number =>
  Math.abs(x - Math.round(x)) < 1e-9 * Math.max(1, Math.abs(x)) ? Math.round(x) : x

/** Odd roots of negative numbers are real, as in every answer sheet. */
function realRoot(x: Complex, n: Complex): Complex {
  if (isReal(x) && x.re < 0 && isReal(n) && Math.abs(n.re % 2) === 1) {
    return negate(power(negate(x), divide(one, n)))
  }
  return power(x, divide(one, n))
}

/**
 * `sum_{k=lo}^{hi} body`, expanded when the bounds are integers, else opaque in body and bounds.
 */
function series(
  name: "Sum" | "Product",
  args: readonly MathExpression[],
  point: Point,
  budget: Budget,
): Complex {
  const [body, range] = args
  if (body === undefined || range?.op !== "call" || range.args[0]?.op !== "symbol") return NAN
  const [index, low, high] = range.args
  const bound = index!.op === "symbol" ? index!.name : ""
  const at = (k: number): Complex =>
    valueAt(body, (symbol) => (symbol === bound ? k : point(symbol)), budget)
  const [from, to] = [low, high].map((limit) => limit && exactInteger(limit))
  if (from === undefined || to === undefined) {
    const limits = [low, high].map((limit) => (limit ? valueAt(limit, point, budget) : complex(0)))
    return opaque(name, [at(point("bound variable")), ...limits], point)
  }
  if (to - from > BigInt(MAX_TERMS)) return NAN
  let total = complex(name === "Sum" ? 0 : 1)
  for (let k = Number(from); k <= Number(to); k++) {
    if (--budget.terms < 0) return NAN
    total = name === "Sum" ? add(total, at(k)) : multiply(total, at(k))
  }
  return total
}

/** An unknown function: a fixed pseudo-random value for its name and (rounded) arguments. */
function opaque(name: string, args: readonly Complex[], point: Point): Complex {
  if (!args.every(isFiniteNumber)) return NAN
  const key = args.map((arg) => `${arg.re.toPrecision(9)},${(arg.im + 0).toPrecision(9)}`)
  return complex(point(`${name}(${key.join(";")})`))
}

/** The quotient of two integers of any size, to double precision. */
function ratio(numerator: bigint, denominator: bigint): number {
  const direct = Number(numerator) / Number(denominator)
  if (Number.isFinite(direct) && (direct !== 0 || numerator === 0n)) return direct
  const sign = numerator < 0n ? -1 : 1
  const digits = (n: bigint): [number, number] => {
    const text = n.toString()
    return [Number(`0.${text.slice(0, 18)}`), text.length]
  }
  const [a, shiftA] = digits(numerator < 0n ? -numerator : numerator)
  const [b, shiftB] = digits(denominator)
  return sign * (a / b) * 10 ** (shiftA - shiftB)
}
