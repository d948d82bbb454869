import type { InferenceSession, Tensor as OrtTensor } from "onnxruntime-common"
import { assert } from "../../errors.ts"
import { type DType, type Graph, graph, input } from "../../graph/index.ts"
import type {
  CompileOptions,
  Device,
  DeviceLimits,
  DeviceTensor,
  Executable,
  HostData,
  HostTensor,
  HostUpdates,
  MatrixRows,
  Precision,
} from "../device.ts"
import { isFactorOrTable } from "./lowering/own-products.ts"
import type { Feature, OwnProducts, Target } from "./lowering.ts"
import { explain, sessionWithoutFallback } from "./onnx-errors.ts"
import { checkFeed, OnnxExecutable, type Sessions } from "./onnx-executable.ts"
import { onnxModel } from "./onnx-model.ts"
import type { OnnxRuntime, Session } from "./onnx-session.ts"
import {
  hostTensor,
  isOnnxTensor,
  type OnnxTensor,
  ORT_TYPE,
  packedTensor,
  remoteTensor,
  travellingTensor,
} from "./onnx-tensor.ts"

async function wholeOf(matrix: HostTensor | MatrixRows): Promise<HostTensor> {
  if (!("read" in matrix)) return matrix
  const [rows, columns] = matrix.shape
  const data = new Float32Array(rows * columns)
  await matrix.read(0, data)
  return { dtype: "f32", shape: matrix.shape, data }
}

/** Whether all that is done with an input is to multiply by it from the right. */
function isOnlyRightFactor(graph: Graph, name: string): boolean {
  return graph.nodes.every(({ op, inputs }) =>
    inputs.every((x, i) => {
      if (x.op !== "input" || x.label !== name) return true
      return (op === "matmul" || op === "gemm") && i === 1
    }),
  )
}

export interface OnnxDeviceOptions {
  readonly target: Target
  readonly description: string
  readonly session: InferenceSession.SessionOptions
  /** Whether sessions are made with the data of constants; every run is fed them otherwise. */
  readonly holdsConstants?: boolean
  /** Products that the sessions' own operators compute. */
  readonly own?: OwnProducts
  readonly updates?: HostUpdates
  readonly lacks?: ReadonlySet<Feature>
  /**
   * Where kernels may write a result before they have read all inputs: none takes an input's place.
   */
  readonly keepsInputs?: boolean
  readonly cachedQueries?: number
}

/**
 * With more queries at once ONNX Runtime 1.30's attention on WebGPU takes another way, which gives
 * wrong rows without a word where subgroups have four lanes (SwiftShader).
 */
const WEBGPU_QUERIES = 8

/** Numbers of a matrix that are in memory as float32 while it is packed. */
const PIECE_ELEMENTS = 2 ** 20

/** A device of ONNX Runtime; the same code for Node and for a browser. */
export class OnnxDevice implements Device {
  readonly sharesHostMemory: boolean
  readonly limits: DeviceLimits
  readonly products: Precision
  readonly updates?: HostUpdates
  readonly #target: Target
  readonly description: string
  readonly #ort: OnnxRuntime
  readonly #session: InferenceSession.SessionOptions
  /** Sessions that copy to the device or back, by type and rank. */
  readonly #copies = new Map<string, Promise<Session>>()
  /** Ops known to have a kernel on this device, by signature. */
  readonly #placed = new Map<string, boolean>()
  readonly #holdsConstants: boolean
  readonly #own: OwnProducts | undefined
  readonly #lacks: ReadonlySet<Feature> | undefined
  readonly #keepsInputs: boolean
  #packs: Promise<boolean> | undefined

  constructor(
    ort: OnnxRuntime,
    { target, description, session, holdsConstants = false, own, ...more }: OnnxDeviceOptions,
  ) {
    const { updates, lacks, keepsInputs = false, cachedQueries } = more
    const queries = target === "cpu" ? Number.POSITIVE_INFINITY : WEBGPU_QUERIES
    this.#ort = ort
    this.#target = target
    this.sharesHostMemory = target === "cpu"
    this.limits = { cachedQueries: cachedQueries ?? queries }
    this.#lacks = lacks
    this.#keepsInputs = keepsInputs
    this.description = description
    this.#session = session
    this.#holdsConstants = holdsConstants
    this.#own = own
    if (updates) this.updates = updates
    this.products = own?.bf16 ? "bf16" : "fp32"
  }

  async compile(graph: Graph, { constants = {} }: CompileOptions = {}): Promise<Executable> {
    const tensors: Record<string, OnnxTensor> = {}
    const panels: Record<string, OnnxTensor> = {}
    const held = new Map<string, OnnxTensor | undefined>()
    for (const [name, given] of Object.entries(constants)) {
      const port = graph.inputs.find((port) => port.name === name)
      assert(port, `${graph.name}: the constant ${name} is no input`)
      const isAsked = typeof given === "function"
      const asked = isAsked ? await given() : given
      if (this.#own?.bf16 && isFactorOrTable(graph, name)) {
        // Fed to each run: of an initializer a session keeps a copy beside the one that is given.
        panels[name] = checkFeed(graph, port, await this.uploadFactor(asked))
        continue
      }
      const host = await wholeOf(asked)
      const packs = !isAsked && this.#holdsConstants && (await this.#packsFactors())
      const packed = packs && isOnlyRightFactor(graph, name)
      const own = !this.sharesHostMemory || packed ? host : { ...host, data: host.data.slice() }
      tensors[name] = checkFeed(graph, port, await this.upload(own))
      held.set(name, packed ? undefined : tensors[name])
    }
    let given: typeof tensors | undefined = this.#holdsConstants ? tensors : {}
    const make: Sessions = async (packed) => {
      assert(given, `${graph.name}: a second session of constants that were let go of`)
      return this.#createSession(graph, given, packed).catch((error: unknown) => {
        throw explain(graph, error)
      })
    }
    const ofRuns = this.#holdsConstants ? { held, fed: panels } : { fed: tensors }
    const keepsInputs = this.#keepsInputs
    const executable = new OnnxExecutable(graph, make, this.#target, { ...ofRuns, keepsInputs })
    // Where inputs may come packed, only a run tells which: its session is made then.
    const isKnown = !this.#own?.bf16 || Object.keys(constants).length > 0
    const fedPacked = graph.inputs.flatMap(({ name }) => (panels[name] ? [name] : []))
    if (isKnown) await executable.session(fedPacked)
    // No run asks for another session then, and what is packed need not be held beside it.
    if (isKnown && !this.#own?.bf16) given = undefined
    return executable
  }

  /**
   * Whether products keep a copy of a constant right factor: true where a change of it goes unseen.
   */
  #packsFactors(): Promise<boolean> {
    const tried = async () => {
      const n = 64
      const weight = new Float32Array(n * n).fill(1)
      const product = graph("packs", {
        y: input("x", ["rows", n]).matmul(input("w", [n, n]), { transB: true }),
      })
      const constant = { dtype: "f32", shape: [n, n], data: weight } as const
      const w = checkFeed(product, product.inputs[1]!, await this.upload(constant))
      const session = await this.#createSession(product, { w })
      weight.fill(2)
      const x = new this.#ort.Tensor("float32", new Float32Array(n).fill(1), [1, n])
      const { y } = await session.run({ x }, { y: null })
      await session.release()
      return (y as OrtTensor).data[0] === n
    }
    this.#packs ??= tried()
    return this.#packs
  }

  async #createSession(
    graph: Graph,
    constants: Readonly<Record<string, OnnxTensor>>,
    fedPacked: ReadonlySet<string> = new Set(),
  ): Promise<Session> {
    if (this.#target === "cpu") {
      for (const name of fedPacked) {
        assert(isFactorOrTable(graph, name), `${graph.name}: more than products read ${name}`)
      }
      const held = Object.entries(constants).map(([name, x]) => [name, x.ort(x.dtype)] as const)
      const names = new Set(Object.keys(constants))
      const own = this.#own
      const given = { constants: names, own, packed: fedPacked, lacks: this.#lacks }
      const model = onnxModel(graph, "cpu", given)
      const { InferenceSession } = this.#ort
      return InferenceSession.create(model, this.#session, Object.fromEntries(held))
    }
    const model = onnxModel(graph, this.#target)
    const options = { ...this.#session, preferredOutputLocation: "gpu-buffer" } as const
    return sessionWithoutFallback(graph, this.#placed, (part, strict) =>
      this.#ort.InferenceSession.create(part === graph ? model : onnxModel(part, this.#target), {
        ...options,
        ...(strict && { extra: { session: { disable_cpu_ep_fallback: "1" } } }),
      }),
    )
  }

  async upload({ dtype, shape, data }: HostTensor): Promise<DeviceTensor> {
    const tensor = new this.#ort.Tensor(ORT_TYPE[dtype], data as never, shape)
    if (this.#target === "cpu") return hostTensor(tensor)
    if (dtype !== "f32" || shape.length === 0) {
      return travellingTensor(tensor, (narrow) => new this.#ort.Tensor("int32", narrow, shape))
    }
    return remoteTensor(await this.#copy(tensor, dtype, "gpu-buffer"), dtype)
  }

  async uploadFactor(matrix: HostTensor | MatrixRows): Promise<DeviceTensor> {
    const { shape } = matrix
    const [rows, columns] = shape as [number, number]
    const panels = this.#own?.bf16
    if ("read" in matrix) {
      if (!panels) return this.upload(await wholeOf(matrix))
      const place = panels.place(rows, columns)
      const most = Math.ceil(PIECE_ELEMENTS / columns / panels.together) * panels.together
      const piece = new Float32Array(Math.min(most, rows) * columns)
      for (let first = 0; first < rows; first += most) {
        const some = piece.subarray(0, Math.min(most, rows - first) * columns)
        await matrix.read(first, some)
        panels.fill(place, some, { first, rows, columns })
      }
      return this.#packed(shape, place)
    }
    const { data } = matrix
    if (!panels || !(data instanceof Float32Array) || shape.length !== 2) return this.upload(matrix)
    const place = panels.place(rows, columns)
    panels.fill(place, data, { first: 0, rows, columns })
    return this.#packed(shape, place)
  }

  #packed(shape: readonly number[], bytes: Uint8Array): DeviceTensor {
    return packedTensor(shape, new this.#ort.Tensor("uint8", bytes, [bytes.length]))
  }

  async download(tensor: DeviceTensor): Promise<HostTensor> {
    const { dtype, shape, data } = tensor
    if (data) return { dtype, shape, data }
    if (!isOnnxTensor(tensor)) throw new Error("download: a tensor of another device")
    const stored = this.#target === "webgpu" && dtype === "i64" ? "i32" : dtype
    const source = tensor.ort(stored)
    const here = source.location === "cpu" ? source : await this.#copy(source, stored, "cpu")
    const values = here.data as HostData
    const wide = dtype === "i64" && values instanceof Int32Array
    return { dtype, shape, data: wide ? BigInt64Array.from(values, BigInt) : values }
  }

  async #copy(tensor: OrtTensor, dtype: DType, to: "cpu" | "gpu-buffer"): Promise<OrtTensor> {
    const rank = tensor.dims.length
    const key = `${dtype} ${rank} ${to}`
    const create = () => {
      const shape = Array.from({ length: rank }, (_, axis) => `n${axis}`)
      const copy = graph("copy", { y: input("x", shape, dtype) })
      const options = { ...this.#session, preferredOutputLocation: to }
      return this.#ort.InferenceSession.create(onnxModel(copy, this.#target), options)
    }
    const session = this.#copies.get(key) ?? create()
    this.#copies.set(key, session)
    const { y } = await (await session).run({ x: tensor }, { y: null })
    return y as OrtTensor
  }

  async release(): Promise<void> {
    for (const session of this.#copies.values()) await (await session).release()
    this.#copies.clear()
  }
}
