import { existsSync } from "node:fs"
import { availableParallelism } from "node:os"
import * as ort from "onnxruntime-node"
import { InputError } from "../errors.ts"
import { graph, input } from "../graph/index.ts"
import { type Device, type DeviceOptions, float32, type Precision } from "./device.ts"
import { NativeSession, startOnnxRuntime } from "./native/native-session.ts"
import { ownKernels, ownPanels } from "./native/own-kernels.ts"
import { OnnxDevice } from "./onnx/onnx-device.ts"

/**
 * Opens a device of this machine with onnxruntime-node. "auto" takes the GPU where there is one
 * that computes a product right and faster than the CPU, so that a software adapter is never chosen.
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
  const cpu = cpuDevice(threads === "auto" ? availableParallelism() : threads, dtype)
  if (dtype === "bf16") return cpu
  if (device === "cpu") return cpu
  if (device === "auto" && !mayHaveGpu()) return cpu
  const gpu = webgpuDevice()
  if (device === "webgpu") {
    const { problem } = await probe(gpu)
    if (problem) throw new InputError(`device: webgpu is not there: ${problem}\n${GPU_ADVICE}`)
    return gpu
  }
  const [fast, slow] = [await probe(gpu), await probe(cpu)]
  return !fast.problem && fast.milliseconds < slow.milliseconds ? gpu : cpu
}

const GPU_ADVICE =
  "tried: WebGPU of onnxruntime-node (Vulkan on Linux: libvulkan.so.1 and a driver; " +
  "Metal on macOS; Direct3D 12 on Windows). Set device: cpu, or auto, to go on without it."

function refuseWithoutBf16(device: DeviceOptions["device"]): void {
  if (device === "webgpu") {
    throw new InputError(
      "dtype: bf16 is for the CPU; on device: webgpu products are float32. Set dtype: fp32, or device: cpu.",
    )
  }
  const { bf16, problem } = ownKernels()
  if (bf16 !== undefined) return
  throw new InputError(`dtype: bf16 cannot be computed here: ${problem}. Set dtype: fp32, or auto.`)
}

function cpuDevice(threads: number, dtype: Precision): Device {
  startOnnxRuntime(threads)
  const kernels = ownKernels()
  const products = dtype === "bf16" ? `, bfloat16 products (${kernels.bf16})` : ""
  const create = async (model: Uint8Array, _: unknown, constants?: Record<string, ort.Tensor>) =>
    new NativeSession(model, threads, ort.Tensor, constants)
  return new OnnxDevice(
    { InferenceSession: { create }, Tensor: ort.Tensor },
    {
      target: "cpu",
      holdsConstants: true,
      description: `CPU, ${threads} thread${threads === 1 ? "" : "s"}${products}`,
      own: { bf16: dtype === "bf16" ? ownPanels() : undefined, tall: kernels.exact !== undefined },
      session: {},
    },
  )
}

function webgpuDevice(): Device {
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

export { ownKernels }

/** The instructions that multiply bfloat16 numbers here; undefined where there are none. */
export const bf16Kernel = (): string | undefined => ownKernels().bf16

/** Linux shows a GPU as a device file; elsewhere only trying tells. */
export function mayHaveGpu(): boolean {
  if (process.platform !== "linux") return true
  return ["/dev/dri/renderD128", "/dev/nvidia0", "/dev/dxg"].some((file) => existsSync(file))
}

interface Probe {
  /** Why the device cannot be used. */
  readonly problem?: string
  /** Of one product of two 1,024 x 1,024 matrices, after a first one. */
  readonly milliseconds: number
}

/** Computes a product whose value is known, twice: does the device work, and how fast? */
async function probe(device: Device): Promise<Probe> {
  const n = 1024
  const failed = (problem: string) => ({ problem, milliseconds: Number.POSITIVE_INFINITY })
  try {
    const [a, b] = [input("a", [n, n]), input("b", [n, n])]
    const product = await device.compile(graph("probe", { sum: a.matmul(b).sum([0, 1]) }))
    const feeds = {
      a: await device.upload(float32([n, n], new Float32Array(n * n).fill(0.5))),
      b: await device.upload(float32([n, n], new Float32Array(n * n).fill(2))),
    }
    let milliseconds = 0
    for (let i = 0; i < 2; i++) {
      const start = performance.now()
      const { sum } = await product.run(feeds)
      const { data } = await device.download(sum!)
      milliseconds = performance.now() - start
      sum!.dispose()
      if (Number(data[0]) !== n ** 3) return failed(`it computes wrong numbers (${data[0]})`)
    }
    for (const tensor of Object.values(feeds)) tensor.dispose()
    await product.release()
    return { milliseconds }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error)
    return failed(message.trim().replace(/^.* was false\. /s, ""))
  }
}
