/**
 * The op table: for each elementwise operation its float64 value, its derivative, and how it is
 * written through a tensor interface. A missing row, or a missing part of a row, does not compile.
 */
import {
  binary,
  constant,
  type ElementwiseOp,
  type Expression,
  type Operand,
  where,
} from "./expression.ts"

/**
 * The few tensor operations that an engine provides to have expressions emitted into its graph.
 * Every T is one number per supervised token, or a scalar that broadcasts. Comparisons give 1 or 0;
 * `where` takes `a` where the condition is not 0, and must not let the other branch's NaN through.
 */
export interface TensorOps<T> {
  constant(value: number): T
  neg(a: T): T
  exp(a: T): T
  log(a: T): T
  sqrt(a: T): T
  add(a: T, b: T): T
  sub(a: T, b: T): T
  mul(a: T, b: T): T
  div(a: T, b: T): T
  pow(a: T, b: T): T
  min(a: T, b: T): T
  max(a: T, b: T): T
  gt(a: T, b: T): T
  ge(a: T, b: T): T
  lt(a: T, b: T): T
  le(a: T, b: T): T
  eq(a: T, b: T): T
  where(condition: T, a: T, b: T): T
}

type Numbers<N extends number> = N extends 1
  ? (a: number) => number
  : N extends 2
    ? (a: number, b: number) => number
    : (a: number, b: number, c: number) => number

export interface OperationRow {
  readonly arity: 1 | 2 | 3
  /** The value in float64. */
  readonly value: (...args: number[]) => number
  /** d loss / d args from dy = d loss / d y; null where nothing flows. */
  readonly derivative: (
    dy: Expression,
    y: Expression,
    args: readonly Expression[],
  ) => readonly (Expression | null)[]
  readonly emit: <T>(ops: TensorOps<T>, args: readonly T[]) => T
}

function row<N extends 1 | 2 | 3>(
  arity: N,
  value: Numbers<N>,
  derivative: OperationRow["derivative"],
  emit: OperationRow["emit"],
): OperationRow {
  return { arity, value: value as OperationRow["value"], derivative, emit }
}

/** 0 times infinity is 0: a token with p = 0 has weight 0, whatever its NLL. */
export function product(a: number, b: number): number {
  return a === 0 || b === 0 ? 0 : a * b
}

const nothing = (): readonly null[] => [null, null]

export const OPERATIONS: { readonly [Name in ElementwiseOp]: OperationRow } = {
  neg: row(
    1,
    (a) => -a,
    (dy) => [negate(dy)],
    (ops, [a]) => ops.neg(a!),
  ),
  exp: row(
    1,
    Math.exp,
    (dy, y) => [times(dy, y)],
    (ops, [a]) => ops.exp(a!),
  ),
  log: row(
    1,
    Math.log,
    (dy, _y, [a]) => [times(dy, over(1, a!))],
    (ops, [a]) => ops.log(a!),
  ),
  sqrt: row(
    1,
    Math.sqrt,
    (dy, y) => [times(dy, over(0.5, y))],
    (ops, [a]) => ops.sqrt(a!),
  ),
  sigmoid: row(
    1,
    (a) => 1 / (1 + Math.exp(-a)),
    (dy, y) => [times(dy, times(y, binary("sub", 1, y)))],
    (ops, [a]) => ops.div(ops.constant(1), ops.add(ops.constant(1), ops.exp(ops.neg(a!)))),
  ),
  detach: row(
    1,
    (a) => a,
    nothing,
    (_ops, [a]) => a!,
  ),

  add: row(
    2,
    (a, b) => a + b,
    (dy) => [dy, dy],
    (ops, [a, b]) => ops.add(a!, b!),
  ),
  sub: row(
    2,
    (a, b) => a - b,
    (dy) => [dy, negate(dy)],
    (ops, [a, b]) => ops.sub(a!, b!),
  ),
  mul: row(
    2,
    product,
    (dy, _y, [a, b]) => [times(dy, b!), times(dy, a!)],
    (ops, [a, b]) => {
      const zero = ops.constant(0)
      const guarded = ops.where(ops.eq(b!, zero), zero, ops.mul(a!, b!))
      return ops.where(ops.eq(a!, zero), zero, guarded)
    },
  ),
  div: row(
    2,
    (a, b) => a / b,
    (dy, y, [, b]) => {
      const da = times(dy, over(1, b!))
      return [da, negate(times(da, y))] // d(a/b)/db = -(a/b) / b
    },
    (ops, [a, b]) => ops.div(a!, b!),
  ),
  pow: row(
    2,
    (a, b) => a ** b,
    (dy, y, [a, b]) => [
      times(dy, times(b!, binary("pow", a!, minus(b!, 1)))),
      times(dy, times(y, a!.log())),
    ],
    (ops, [a, b]) => ops.pow(a!, b!),
  ),
  // At a tie each argument takes half, as PyTorch's minimum and maximum do.
  min: row(
    2,
    Math.min,
    (dy, _y, [a, b]) => share(dy, "lt", a!, b!),
    (ops, [a, b]) => ops.min(a!, b!),
  ),
  max: row(
    2,
    Math.max,
    (dy, _y, [a, b]) => share(dy, "gt", a!, b!),
    (ops, [a, b]) => ops.max(a!, b!),
  ),

  gt: row(
    2,
    (a, b) => Number(a > b),
    nothing,
    (ops, [a, b]) => ops.gt(a!, b!),
  ),
  ge: row(
    2,
    (a, b) => Number(a >= b),
    nothing,
    (ops, [a, b]) => ops.ge(a!, b!),
  ),
  lt: row(
    2,
    (a, b) => Number(a < b),
    nothing,
    (ops, [a, b]) => ops.lt(a!, b!),
  ),
  le: row(
    2,
    (a, b) => Number(a <= b),
    nothing,
    (ops, [a, b]) => ops.le(a!, b!),
  ),
  eq: row(
    2,
    (a, b) => Number(a === b),
    nothing,
    (ops, [a, b]) => ops.eq(a!, b!),
  ),
  where: row(
    3,
    (condition, a, b) => (condition !== 0 ? a : b),
    (dy, _y, [condition]) => [null, where(condition!, dy, 0), where(condition!, 0, dy)],
    (ops, [condition, a, b]) => ops.where(condition!, a!, b!),
  ),
}

/** `dy` to the argument that wins the comparison, half to each at a tie. */
function share(
  dy: Expression,
  wins: "lt" | "gt",
  a: Expression,
  b: Expression,
): readonly Expression[] {
  const tie = a.equals(b)
  return [
    times(dy, where(tie, 0.5, binary(wins, a, b))),
    times(dy, where(tie, 0.5, binary(wins, b, a))),
  ]
}

// Derivatives are folded as they are built, so that a coefficient stays as short as its formula.

export function times(a: Operand, b: Operand): Expression {
  if (isConstant(a, 0) || isConstant(b, 0)) return constant(0)
  if (isConstant(a, 1)) return asExpression(b)
  if (isConstant(b, 1)) return asExpression(a)
  if (isConstant(a, -1)) return negate(asExpression(b))
  if (isConstant(b, -1)) return negate(asExpression(a))
  return binary("mul", a, b)
}

export function plus(a: Expression, b: Expression): Expression {
  if (isConstant(a, 0)) return b
  if (isConstant(b, 0)) return a
  return binary("add", a, b)
}

function minus(a: Expression, b: number): Expression {
  return a.value === undefined ? binary("sub", a, b) : constant(a.value - b)
}

function over(a: number, b: Expression): Expression {
  return b.value === undefined || b.value === 0 ? binary("div", a, b) : constant(a / b.value)
}

export function negate(a: Expression): Expression {
  if (a.value !== undefined) return constant(-a.value)
  return a.op === "neg" ? a.args[0]! : a.negate()
}

function isConstant(a: Operand, value: number): boolean {
  return typeof a === "number" ? a === value : a.value === value
}

function asExpression(a: Operand): Expression {
  return typeof a === "number" ? constant(a) : a
}
