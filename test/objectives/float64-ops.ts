import type { TensorOps } from "../../src/objectives/index.ts"

type Column = Float64Array

/**
 * A tensor interface over float64 columns of `length` numbers: plain IEEE arithmetic, 0 * Infinity
 * is NaN.
 */
export function float64Ops(length: number): TensorOps<Column> {
  const map = (f: (...values: number[]) => number) => {
    return (...columns: Column[]): Column => {
      return Float64Array.from({ length }, (_, t) => f(...columns.map((column) => column[t]!)))
    }
  }
  return {
    constant: (value) => new Float64Array(length).fill(value),
    neg: map((a) => -a!),
    exp: map((a) => Math.exp(a!)),
    log: map((a) => Math.log(a!)),
    sqrt: map((a) => Math.sqrt(a!)),
    add: map((a, b) => a! + b!),
    sub: map((a, b) => a! - b!),
    mul: map((a, b) => a! * b!),
    div: map((a, b) => a! / b!),
    pow: map((a, b) => a! ** b!),
    min: map((a, b) => Math.min(a!, b!)),
    max: map((a, b) => Math.max(a!, b!)),
    gt: map((a, b) => Number(a! > b!)),
    ge: map((a, b) => Number(a! >= b!)),
    lt: map((a, b) => Number(a! < b!)),
    le: map((a, b) => Number(a! <= b!)),
    eq: map((a, b) => Number(a! === b!)),
    where: map((condition, a, b) => (condition !== 0 ? a! : b!)),
  }
}
