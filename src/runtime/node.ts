import { plural } from "../plural.ts"
import "../host/no-telemetry.ts"
import { existsSync } from "node:fs"
import { availableParallelism } from "node:os"
import * as ort from "onnxruntime-node"
import { InputError } from "../errors.ts"
import type { Device, DeviceOptions, Precision } from "./device.ts"
import { deviceTrial } from "./device-trial.ts"
import { NativeSession, startOnnxRuntime } from "./native/native-session.ts"
import { ownKernels, ownPanels, ownUpdates } from "./native/own-kernels.ts"
import { nameOf } from "./native/plugin-provider.ts"
import { OnnxDevice } from "./onnx/onnx-device.ts"
import { webgpuDevice } from "./onnx/webgpu-device.ts"
import { type MakeDevice, openPluginDevice } from "./plugin-device.ts"

/**
 * Opens a device of this machine with onnxruntime-node. "auto" takes the GPU where there is one
 * that computes a product right and faster than the CPU, so that a software adapter is never
 * chosen.
 */
export async function openDevice({
  device = "auto",
  threads = "auto",
  dtype = "fp32",
}: DeviceOptions = {}): Promise<Device> {
  if (threads !== "auto" && !(Number.isInteger(threads) && threads >= 1 && threads <= 1024)) {
    throw new InputError(`threads: expected "auto" or a whole number from 1 on, got ${threads}`)
  }
  if (dtype === "bf16") refuseWithoutBf16(device)
  const count = threads === "auto" ? availableParallelism() : threads
  if (typeof device === "object") {
    startOnnxRuntime(count)
    return openPluginDevice(device, pluginSessions(count))
  }
  const cpu = cpuDevice(count, dtype)
  if (dtype === "bf16") return cpu
  if (device === "cpu") return cpu
  if (device === "auto" && !mayHaveGpu()) return cpu
  const gpu = webgpuDevice(ort)
  if (device === "webgpu") {
    const { problem } = await deviceTrial(gpu)
    if (problem) throw new InputError(`device: webgpu is not there: ${problem}\n${GPU_ADVICE}`)
    return gpu
  }
  const [fast, slow] = [await deviceTrial(gpu), await deviceTrial(cpu)]
  return !fast.problem && fast.milliseconds < slow.milliseconds ? gpu : cpu
}

const GPU_ADVICE =
  "tried: WebGPU of onnxruntime-node (Vulkan on Linux: libvulkan.so.1 and a driver; " +
  "Metal on macOS; Direct3D 12 on Windows). Set device: cpu, or auto, to go on without it."

function refuseWithoutBf16(device: DeviceOptions["device"]): void {
  if (device === "webgpu" || typeof device === "object") {
    const name = device === "webgpu" ? device : device.library
    throw new InputError(
      `dtype: bf16 is for the CPU; on device: ${name} products are float32. Set dtype: fp32, or device: cpu.`,
    )
  }
  const { bf16, problem } = ownKernels()
  if (bf16 !== undefined) return
  throw new InputError(`dtype: bf16 cannot be computed here: ${problem}. Set dtype: fp32, or auto.`)
}

function cpuDevice(threads: number, dtype: Precision): Device {
  startOnnxRuntime(threads)
  const kernels = ownKernels()
  const updates = ownUpdates(threads)
  const products = dtype === "bf16" ? `, bfloat16 products (${kernels.bf16})` : ""
  const create = async (model: Uint8Array, _: unknown, constants?: Record<string, ort.Tensor>) =>
    new NativeSession(model, threads, ort.Tensor, constants)
  return new OnnxDevice(
    { InferenceSession: { create }, Tensor: ort.Tensor },
    {
      target: "cpu",
      holdsConstants: true,
      description: `CPU, ${threads} ${plural(threads, "thread")}${products}`,
      ...(updates ? { updates } : {}),
      own: { bf16: dtype === "bf16" ? ownPanels() : undefined, tall: kernels.exact !== undefined },
      session: {},
    },
  )
}

/** As many new tokens of a sequence as the cases of attention over a cache have. */
const CACHED_QUERIES = 8

/** Devices of a library: tensors are arrays of this program, copied at each run. */
function pluginSessions(threads: number): MakeDevice {
  return ({ plugin, options, lacks, strict = false }) => {
    const provider = { device: plugin.pointer, options, strict }
    const create = async (model: Uint8Array, _: unknown, constants?: Record<string, ort.Tensor>) =>
      new NativeSession(model, threads, ort.Tensor, constants, provider)
    const updates = ownUpdates(threads)
    return new OnnxDevice(
      { InferenceSession: { create }, Tensor: ort.Tensor },
      {
        target: "cpu",
        holdsConstants: true,
        keepsInputs: true,
        cachedQueries: CACHED_QUERIES,
        description: nameOf(plugin),
        lacks,
        ...(updates ? { updates } : {}),
        session: {},
      },
    )
  }
}

export { ownKernels }

/** The instructions that multiply bfloat16 numbers here; undefined where there are none. */
export const bf16Kernel = (): string | undefined => ownKernels().bf16

/** Linux shows a GPU as a device file; elsewhere only trying tells. */
export function mayHaveGpu(): boolean {
  if (process.platform !== "linux") return true
  return ["/dev/dri/renderD128", "/dev/nvidia0", "/dev/dxg"].some((file) => existsSync(file))
}
