export { type Graph, graph, type Port } from "./graph.ts"
export { overwriteProblem } from "./in-place.ts"
export { type NdArray, ndarray } from "./ndarray.ts"
export { stepsOf } from "./ops/cache.ts"
export { opRow, ops } from "./ops.ts"
export { topologicalOrder } from "./order.ts"
export { type ForwardBackward, KEEP_LEVELS, type KeepLevel, partition } from "./partition.ts"
export { gradients, type Seed } from "./reverse.ts"
export { axisOf, type Dim, type DType, type Shape, type TensorType } from "./shape.ts"
export type { Attributes, OpName, ProductAttributes, Tensor } from "./tensor.ts"
export {
  apply,
  type CachedAttentionInputs,
  cachedAttention,
  composite,
  concat,
  constant,
  dequantize,
  input,
  lift,
  range,
} from "./trace.ts"
export { type Sizes, tensorBytes, workspaceBytes } from "./workspace.ts"
