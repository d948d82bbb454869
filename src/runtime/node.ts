import { availableParallelism } from "node:os"
import * as ort from "onnxruntime-node"
import { InputError } from "../run/errors.ts"
import type { Device, DeviceOptions } from "./device.ts"
import { OnnxDevice } from "./onnx-runtime.ts"

/** Opens a device of this machine with onnxruntime-node. */
export async function openDevice({
  device = "auto",
  threads = "auto",
}: DeviceOptions = {}): Promise<Device> {
  const count = threads === "auto" ? availableParallelism() : threads
  if (device === "webgpu") throw new InputError("device: webgpu is not available yet")
  return new OnnxDevice(ort, {
    kind: "cpu",
    description: `CPU, ${count} thread${count === 1 ? "" : "s"}`,
    session: {
      executionProviders: ["cpu"],
      intraOpNumThreads: count,
      interOpNumThreads: 1,
      executionMode: "sequential",
      graphOptimizationLevel: "all",
      enableCpuMemArena: true,
      enableMemPattern: false,
      logSeverityLevel: 3,
    },
  })
}
