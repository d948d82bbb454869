import "./ops.ts"

export { type Graph, graph, type Port } from "./graph.ts"
export { overwriteProblem } from "./in-place.ts"
export { type NdArray, ndarray } from "./ndarray.ts"
export { type DeviceKind, hostIntegers, onnxModel, storedAs } from "./onnx.ts"
export { type ForwardBackward, KEEP_LEVELS, type KeepLevel, partition } from "./partition.ts"
export { gradients, type Seed, topologicalOrder } from "./reverse.ts"
export type { Dim, DType, Shape, TensorType } from "./shape.ts"
export {
  type Attributes,
  apply,
  type CachedAttentionInputs,
  cachedAttention,
  composite,
  concat,
  constant,
  dequantize,
  input,
  lift,
  type OpName,
  opRow,
  range,
  Tensor,
} from "./tensor.ts"
export { type Sizes, tensorBytes, workspaceBytes } from "./workspace.ts"
