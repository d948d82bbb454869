import type { MathExpression } from "./math-expression.ts"

type Rows = readonly (readonly MathExpression[])[]

/**
 * The entries of an expression of matrices: literals, sums, products and multiples.
 *
 * @returns undefined when shapes do not fit.
 */
export function matrixOf(x: MathExpression): Rows | "not a matrix" | undefined {
  if (x.op === "matrix") return x.rows
  if (x.op !== "add" && x.op !== "multiply") return "not a matrix"
  const parts = x.args.map((arg) => ({ arg, rows: matrixOf(arg) }))
  if (parts.every(({ rows }) => rows === "not a matrix")) return "not a matrix"
  let total: Rows | undefined
  const factors: MathExpression[] = []
  for (const { arg, rows } of parts) {
    if (rows === undefined) return undefined
    if (rows === "not a matrix") {
      if (x.op === "add") return undefined
      factors.push(arg)
    } else if (total === undefined) total = rows
    else total = x.op === "add" ? sum(total, rows) : product(total, rows)
    if (total === undefined && rows !== "not a matrix") return undefined
  }
  if (factors.length === 0) return total
  return total?.map((row) =>
    row.map((cell): MathExpression => ({ op: "multiply", args: [...factors, cell] })),
  )
}

function sum(a: Rows, b: Rows): Rows | undefined {
  if (a.length !== b.length || a[0]!.length !== b[0]!.length) return undefined
  return a.map((row, i) =>
    row.map((cell, j): MathExpression => ({ op: "add", args: [cell, b[i]![j]!] })),
  )
}

function product(a: Rows, b: Rows): Rows | undefined {
  if (a[0]!.length !== b.length) return undefined
  return a.map((row) =>
    b[0]!.map(
      (_, j): MathExpression => ({
        op: "add",
        args: row.map((cell, k): MathExpression => ({ op: "multiply", args: [cell, b[k]![j]!] })),
      }),
    ),
  )
}
