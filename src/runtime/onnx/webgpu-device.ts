import type { Device } from "../device.ts"
import { OnnxDevice } from "./onnx-device.ts"
import type { OnnxRuntime } from "./onnx-session.ts"

/** ONNX Runtime's WebGPU, in Node as in a browser. */
export function webgpuDevice(ort: OnnxRuntime): Device {
  return new OnnxDevice(ort, {
    target: "webgpu",
    description: "GPU through WebGPU",
    session: {
      executionProviders: ["webgpu"],
      graphOptimizationLevel: "all",
      enableMemPattern: false,
      logSeverityLevel: 4,
    },
  })
}
