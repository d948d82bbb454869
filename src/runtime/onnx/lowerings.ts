import { cache } from "./lowering/cache.ts"
import { elementwise } from "./lowering/elementwise.ts"
import { layout } from "./lowering/layout.ts"
import { leaves } from "./lowering/leaves.ts"
import { linear } from "./lowering/linear.ts"
import { quantized } from "./lowering/quantized.ts"
import { reduce } from "./lowering/reduce.ts"
import type { LoweringTable } from "./lowering.ts"

export const lowerings: LoweringTable = {
  ...leaves,
  ...elementwise,
  ...layout,
  ...reduce,
  ...linear,
  ...cache,
  ...quantized,
}
