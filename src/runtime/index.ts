export * from "./device.ts"
export { openDevice } from "./node.ts"
export { OnnxDevice, type OnnxRuntime } from "./onnx-runtime.ts"
export { interpret } from "./reference.ts"
