import type { InferenceSession, Tensor as OrtTensor } from "onnxruntime-common"
import { InputError } from "../errors.ts"
import { plural } from "../plural.ts"
import { deviceTrial } from "../runtime/device-trial.ts"
import { type Device, OnnxDevice, type OnnxRuntime } from "../runtime/index.ts"
import { webgpuDevice } from "../runtime/onnx/webgpu-device.ts"

/** What is used of the module `onnxruntime-web/wasm` or `onnxruntime-web/jspi`. */
export interface WebRuntime {
  readonly env: {
    readonly wasm: { numThreads?: number | undefined; wasmPaths?: unknown }
    logLevel?: unknown
  }
  readonly InferenceSession: {
    create(
      model: Uint8Array,
      options: InferenceSession.SessionOptions,
    ): Promise<Pick<InferenceSession, "run" | "release">>
  }
  readonly Tensor: typeof OrtTensor
}

export type WebDeviceKind = "wasm" | "webgpu"

export interface WebDeviceOptions {
  /**
   * `webgpu` needs the runtime module that has it (`onnxruntime-web/jspi`); `webDeviceKind`
   * chooses.
   */
  readonly device: WebDeviceKind
  /**
   * Of WebAssembly; "auto" is half of the cores, at most four. More than one needs a page that is
   * isolated from other origins (the headers COOP and COEP).
   */
  readonly threads?: "auto" | number
  /** The folder that ONNX Runtime's .wasm and .mjs files are served from, "/" at its end. */
  readonly wasmPaths?: string
}

/** What browsers have that Node's types do not name. */
interface BrowserScope {
  readonly crossOriginIsolated?: boolean
  readonly navigator?: {
    readonly hardwareConcurrency?: number
    readonly gpu?: { requestAdapter(): Promise<unknown> }
  }
}
const scope = globalThis as BrowserScope

/** Why threads cannot be had here; undefined where they can. */
export function threadsProblem(): string | undefined {
  if (typeof SharedArrayBuffer !== "undefined" && scope.crossOriginIsolated !== false) {
    return undefined
  }
  return (
    "this page is not isolated from other origins, so the browser gives no shared memory: " +
    "it computes on one thread. Serve it with the headers Cross-Origin-Opener-Policy: same-origin " +
    "and Cross-Origin-Embedder-Policy: require-corp"
  )
}

/** Why WebGPU cannot be had here; undefined where there is an adapter. */
export async function webgpuProblem(): Promise<string | undefined> {
  const { gpu } = scope.navigator ?? {}
  if (!gpu) return "this browser has no WebGPU"
  if (!("Suspending" in (globalThis as { WebAssembly?: object }).WebAssembly!)) {
    return "this browser's WebAssembly cannot wait for promises (JSPI), which the WebGPU build needs"
  }
  return (await gpu.requestAdapter()) ? undefined : "WebGPU finds no adapter here"
}

/** WebGPU where there is one, else WebAssembly. */
export async function webDeviceKind(): Promise<WebDeviceKind> {
  return (await webgpuProblem()) ? "wasm" : "webgpu"
}

const MOST_THREADS = 4
/** Enough to see that it computes. */
const TRIAL_SIZE = 64

function threadCount(wanted: "auto" | number): number {
  if (threadsProblem()) return 1
  if (wanted !== "auto") return wanted
  const cores = scope.navigator?.hardwareConcurrency ?? 1
  // Threads that wait do so by spinning: with one on every core a busy tab is slower than on half.
  return Math.max(1, Math.min(MOST_THREADS, Math.floor(cores / 2)))
}

/**
 * A device of this browser. The runtime is the caller's import, so that a bundler takes one
 * variant:
 *
 *     import * as ort from "onnxruntime-web/wasm"
 *     const device = await openWebDevice(ort, { device: "wasm", wasmPaths: "/ort/" })
 *
 * Open one a worker: ONNX Runtime keeps one environment.
 *
 * @throws InputError where the device is not there or computes wrong numbers
 */
export async function openWebDevice(
  ort: WebRuntime,
  { device, threads = "auto", wasmPaths }: WebDeviceOptions,
): Promise<Device> {
  if (threads !== "auto" && !(Number.isInteger(threads) && threads >= 1 && threads <= 64)) {
    throw new InputError(`threads: expected "auto" or a whole number from 1 to 64, got ${threads}`)
  }
  const count = threadCount(threads)
  ort.env.wasm.numThreads = count
  if (wasmPaths !== undefined) ort.env.wasm.wasmPaths = wasmPaths
  ort.env.logLevel = "error"
  if (device === "webgpu") {
    const problem = await webgpuProblem()
    if (problem) throw new InputError(`device: webgpu: ${problem}; take device: wasm`)
  }
  const opened = device === "webgpu" ? webgpuDevice(ort as OnnxRuntime) : wasmDevice(ort, count)
  const { problem } = await deviceTrial(opened, TRIAL_SIZE)
  if (problem) throw new InputError(`device: ${device} does not work in this browser: ${problem}`)
  return opened
}

function wasmDevice(ort: WebRuntime, threads: number): Device {
  const create = async (
    model: Uint8Array,
    options: InferenceSession.SessionOptions,
    constants: Readonly<Record<string, OrtTensor>> = {},
  ) => {
    const session = await ort.InferenceSession.create(model, {
      ...options,
      externalData: Object.entries(constants).map(([path, { data }]) => {
        const { buffer, byteOffset, byteLength } = data as Float32Array
        return { path, data: new Uint8Array(buffer, byteOffset, byteLength) }
      }),
    })
    return {
      // onnxruntime-web 1.30 takes preallocated results and never writes them, without a word.
      async run(
        feeds: Readonly<Record<string, OrtTensor>>,
        fetches: Readonly<Record<string, OrtTensor | null>>,
      ) {
        const results = await session.run(feeds, Object.keys(fetches))
        for (const [name, into] of Object.entries(fetches)) {
          if (into) (into.data as Float32Array).set(results[name]!.data as Float32Array)
        }
        return results
      },
      release: () => session.release(),
    }
  }
  return new OnnxDevice(
    { InferenceSession: { create }, Tensor: ort.Tensor },
    {
      target: "cpu",
      description: `WebAssembly, ${threads} ${plural(threads, "thread")}`,
      session: {
        executionProviders: ["wasm"],
        graphOptimizationLevel: "all",
        enableMemPattern: false,
        logSeverityLevel: 3,
      },
      holdsConstants: true,
    },
  )
}
