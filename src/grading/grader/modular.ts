import type { MathExpression } from "./math-expression.ts"

/**
 * Primes near 2^61: two different rationals of modest size agree modulo all three only by chance of
 * 2^-180.
 */
const PRIMES = [2305843009213693951n, 2305843009213693921n, 2305843009213693907n]
const MAX_EXPONENT_BITS = 4_096
const MAX_FACTORIAL = 5_000

/**
 * The value of a rational expression modulo three primes, at a fixed pseudo-random point of its
 * symbols; undefined where it is not rational (roots, pi, unknown functions) or divides by zero.
 * Equal residues mean equal expressions but for a chance below 2^-150 (Schwartz and Zippel, 1979):
 * no rounding, and no number ever grows.
 */
export function residues(x: MathExpression): readonly bigint[] | undefined {
  const values: bigint[] = []
  for (const prime of PRIMES) {
    const value = residue(x, prime)
    if (value === undefined) return undefined
    values.push(value)
  }
  return values
}

export const sameResidues = (a: readonly bigint[], b: readonly bigint[]): boolean =>
  a.every((value, i) => value === b[i])

function residue(x: MathExpression, p: bigint): bigint | undefined {
  switch (x.op) {
    case "number": {
      const denominator = mod(x.denominator, p)
      return denominator === 0n ? undefined : mod(x.numerator * inverse(denominator, p), p)
    }
    case "symbol":
      return TRANSCENDENTAL.has(x.name) ? undefined : symbolResidue(x.name, p)
    case "add":
    case "multiply": {
      let total = x.op === "add" ? 0n : 1n
      for (const arg of x.args) {
        const value = residue(arg, p)
        if (value === undefined) return undefined
        total = mod(x.op === "add" ? total + value : total * value, p)
      }
      return total
    }
    case "power":
      return powerResidue(x.args[0], x.args[1], p)
    case "matrix":
      return undefined
    case "call":
      return callResidue(x.name, x.args, p)
  }
}

const TRANSCENDENTAL = new Set(["Pi", "e", "i", "ExponentialE", "ImaginaryUnit"])

function powerResidue(
  base: MathExpression,
  exponent: MathExpression,
  p: bigint,
): bigint | undefined {
  const value = residue(base, p)
  const power = exactInteger(exponent)
  if (value === undefined || power === undefined) return undefined
  if (value === 0n) return power > 0n ? 0n : undefined
  return power < 0n ? inverse(modPower(value, -power, p), p) : modPower(value, power, p)
}

function callResidue(name: string, args: readonly MathExpression[], p: bigint): bigint | undefined {
  const [a, b] = args.map(exactInteger)
  if (name === "Factorial" && a !== undefined && a >= 0n && a <= MAX_FACTORIAL) {
    return factorial(Number(a), p)
  }
  if (name === "Binomial" && a !== undefined && b !== undefined) {
    if (a < 0n || a > MAX_FACTORIAL || b < 0n || b > a) return undefined
    const [n, k] = [Number(a), Number(b)]
    return mod(factorial(n, p) * inverse(mod(factorial(k, p) * factorial(n - k, p), p), p), p)
  }
  return undefined
}

function factorial(n: number, p: bigint): bigint {
  let product = 1n
  for (let k = 2; k <= n; k++) product = mod(product * BigInt(k), p)
  return product
}

/** The expression as an exact integer of bounded size, or undefined. */
export function exactInteger(x: MathExpression): bigint | undefined {
  if (x.op === "number") {
    return x.denominator === 1n && bits(x.numerator) <= MAX_EXPONENT_BITS ? x.numerator : undefined
  }
  if (x.op === "power") {
    const [base, exponent] = [exactInteger(x.args[0]), exactInteger(x.args[1])]
    if (base === undefined || exponent === undefined || exponent < 0n) return undefined
    if (BigInt(bits(base)) * exponent > MAX_EXPONENT_BITS) return undefined
    return base ** exponent
  }
  if (x.op !== "add" && x.op !== "multiply") return undefined
  let total = x.op === "add" ? 0n : 1n
  for (const arg of x.args) {
    const value = exactInteger(arg)
    if (value === undefined) return undefined
    total = x.op === "add" ? total + value : total * value
    if (bits(total) > MAX_EXPONENT_BITS) return undefined
  }
  return total
}

const bits = (n: bigint): number => n.toString(16).length * 4
const mod = (a: bigint, p: bigint): bigint => ((a % p) + p) % p

function modPower(base: bigint, exponent: bigint, p: bigint): bigint {
  let result = 1n
  let square = base
  for (let e = exponent; e > 0n; e >>= 1n) {
    if (e & 1n) result = (result * square) % p
    square = (square * square) % p
  }
  return result
}

/** By Euclid's extended algorithm; `a` is not 0 modulo the prime. */
function inverse(a: bigint, p: bigint): bigint {
  let [r, next, s, t] = [p, a, 0n, 1n]
  while (next !== 0n) {
    const quotient = r / next
    ;[r, next] = [next, r - quotient * next]
    ;[s, t] = [t, s - quotient * t]
  }
  return mod(s, p)
}

function symbolResidue(name: string, p: bigint): bigint {
  let hash = 0xcbf29ce484222325n // FNV-1a, 64 bits
  for (const c of name)
    hash = ((hash ^ BigInt(c.codePointAt(0)!)) * 0x100000001b3n) & (2n ** 64n - 1n)
  return mod(hash * 0x9e3779b97f4a7c15n, p)
}
