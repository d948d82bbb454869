// What runs in Node and in a browser. Node's own devices: node.ts.
export { CompiledGraphs } from "./compiled-graphs.ts"
export * from "./device.ts"
export { OnnxDevice, type OnnxDeviceOptions } from "./onnx/onnx-device.ts"
export { onnxModel } from "./onnx/onnx-model.ts"
export type { OnnxRuntime, Session } from "./onnx/onnx-session.ts"
export { interpret } from "./reference.ts"
