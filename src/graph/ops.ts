import { cache } from "./ops/cache.ts"
import { elementwise } from "./ops/elementwise.ts"
import { layout } from "./ops/layout.ts"
import { leaves } from "./ops/leaves.ts"
import { linear } from "./ops/linear.ts"
import { quantized } from "./ops/quantized.ts"
import { reduce } from "./ops/reduce.ts"
import type { OpName, OpRow, OpTable } from "./tensor.ts"

/** The op table: one row is an op (type rule, gradient, float64 value). */
export const ops: OpTable = {
  ...leaves,
  ...elementwise,
  ...layout,
  ...reduce,
  ...linear,
  ...cache,
  ...quantized,
}

export function opRow<Op extends OpName>(op: Op): OpRow<Op> {
  return ops[op]
}
