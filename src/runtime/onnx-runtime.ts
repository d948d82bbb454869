import type { InferenceSession, Tensor as OrtTensor } from "onnxruntime-common"
import type { DeviceKind, DType, Graph, Port } from "../graph/index.ts"
import { onnxModel } from "../graph/index.ts"
import { InputError } from "../run/errors.ts"
import type { Device, DeviceTensor, Executable, Feeds, HostData, HostTensor } from "./device.ts"

/** What is used of onnxruntime-node or onnxruntime-web: they share it. */
export interface OnnxRuntime {
  readonly InferenceSession: typeof InferenceSession
  readonly Tensor: typeof OrtTensor
}

const TYPE = { f32: "float32", i64: "int64", i32: "int32", u8: "uint8", bool: "bool" } as const
const DTYPE: Readonly<Record<string, DType>> = {
  float32: "f32",
  int64: "i64",
  int32: "i32",
  uint8: "u8",
  bool: "bool",
}

/** A tensor of ONNX Runtime under the device's interface. */
class OnnxTensor implements DeviceTensor {
  readonly tensor: OrtTensor
  readonly dtype: DType
  readonly shape: readonly number[]

  constructor(tensor: OrtTensor) {
    this.tensor = tensor
    this.dtype = DTYPE[tensor.type]!
    this.shape = tensor.dims
  }
  get data(): HostData | undefined {
    return this.tensor.location === "cpu" ? (this.tensor.data as HostData) : undefined
  }
  dispose(): void {
    if (this.tensor.location !== "cpu") this.tensor.dispose()
  }
}

function checkFeed(graph: Graph, port: Port, fed: DeviceTensor | undefined): OnnxTensor {
  if (!(fed instanceof OnnxTensor)) {
    throw new InputError(`${graph.name}: the input ${port.name} was not given`)
  }
  const fits =
    fed.dtype === port.dtype &&
    fed.shape.length === port.shape.length &&
    port.shape.every((dim, i) => typeof dim === "string" || dim === fed.shape[i])
  if (!fits) {
    throw new InputError(
      `${graph.name}: the input ${port.name} must be ${port.dtype} [${port.shape}], ` +
        `got ${fed.dtype} [${fed.shape}]`,
    )
  }
  return fed
}

class OnnxExecutable implements Executable {
  readonly graph: Graph
  readonly #session: InferenceSession
  readonly #inPlace: boolean

  constructor(graph: Graph, session: InferenceSession, inPlace: boolean) {
    this.graph = graph
    this.#session = session
    this.#inPlace = inPlace
  }

  async run(feeds: Feeds, { into = {} }: { into?: Feeds } = {}) {
    const inputs: Record<string, OrtTensor> = {}
    for (const port of this.graph.inputs) {
      inputs[port.name] = checkFeed(this.graph, port, feeds[port.name]).tensor
    }
    const fetches: Record<string, OrtTensor | null> = {}
    for (const { name } of this.graph.outputs) {
      const target = into[name]
      fetches[name] = this.#inPlace && target instanceof OnnxTensor ? target.tensor : null
    }
    const results = await this.#session.run(inputs, fetches).catch((error: unknown) => {
      throw explain(this.graph, error)
    })
    if (!this.#inPlace) for (const old of Object.values(into)) old.dispose()
    const outputs: Record<string, DeviceTensor> = {}
    for (const { name } of this.graph.outputs) {
      const given = this.#inPlace ? into[name] : undefined
      outputs[name] = given ?? new OnnxTensor(results[name]!)
    }
    return outputs
  }

  async release(): Promise<void> {
    await this.#session.release()
  }
}

/** ONNX Runtime's errors in the user's terms. */
function explain(graph: Graph, error: unknown): Error {
  const message = error instanceof Error ? error.message : String(error)
  if (/bad_alloc|Failed to allocate|out of memory|OutOfMemory/i.test(message)) {
    return new InputError(
      `out of memory while running ${graph.name}: lower micro_batch_tokens or set recompute: always ` +
        `(${message})`,
    )
  }
  return new Error(`${graph.name}: ${message}`, { cause: error })
}

export interface OnnxDeviceOptions {
  readonly kind: DeviceKind
  readonly description: string
  readonly session: InferenceSession.SessionOptions
}

/** A device of ONNX Runtime; the same code for Node and for a browser. */
export class OnnxDevice implements Device {
  readonly kind: DeviceKind
  readonly description: string
  readonly #ort: OnnxRuntime
  readonly #session: InferenceSession.SessionOptions

  constructor(ort: OnnxRuntime, { kind, description, session }: OnnxDeviceOptions) {
    this.#ort = ort
    this.kind = kind
    this.description = description
    this.#session = session
  }

  async compile(graph: Graph): Promise<Executable> {
    const model = onnxModel(graph, this.kind)
    const session = await this.#ort.InferenceSession.create(model, this.#session).catch(
      (error: unknown) => {
        throw explain(graph, error)
      },
    )
    return new OnnxExecutable(graph, session, this.kind === "cpu")
  }

  async upload({ dtype, shape, data }: HostTensor): Promise<DeviceTensor> {
    return new OnnxTensor(new this.#ort.Tensor(TYPE[dtype], data as never, shape))
  }

  async download(tensor: DeviceTensor): Promise<HostTensor> {
    if (!tensor.data) throw new Error("download: not a CPU tensor")
    return { dtype: tensor.dtype, shape: tensor.shape, data: tensor.data }
  }

  async release(): Promise<void> {}
}
