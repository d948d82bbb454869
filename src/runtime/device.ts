import type { DType, Graph } from "../graph/index.ts"

export type HostData = Float32Array | Uint16Array | BigInt64Array | Int32Array | Uint8Array

/** A tensor in host memory; bf16 is a Uint16Array of its bits, bool a Uint8Array of 0 and 1. */
export interface HostTensor {
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly data: HostData
}

/** A tensor where the device keeps it. On the CPU that is `data`, shared and never copied. */
export interface DeviceTensor {
  readonly dtype: DType
  readonly shape: readonly number[]
  /** The tensor's host memory, on devices that share it. */
  readonly data: HostData | undefined
  dispose(): void
}

export type Feeds = Readonly<Record<string, DeviceTensor>>

export interface RunOptions {
  /**
   * Tensors to write results into (by output name). An input may be given as its own output: the
   * update is then in place where the device can, and the tensor returned is the one to use.
   */
  readonly into?: Feeds
  /** A run that was aborted does not start; one that has started is finished. */
  readonly signal?: AbortSignal
}

export interface CompileOptions {
  /**
   * Inputs that never change, by name; runs are not given them. On the CPU, products keep a copy
   * packed the way they read it, which makes them faster for few rows and gives a row the same bits
   * whatever the other rows are. The arrays may be written over afterwards. A function is asked
   * when its turn comes, and its array may be written over when the next is asked.
   */
  readonly constants?: Readonly<
    Record<string, HostTensor | (() => Promise<HostTensor | MatrixRows>)>
  >
}

/** A graph compiled for one device. */
export interface Executable {
  readonly graph: Graph
  /** Every output by name; errors name the graph and the tensors. */
  run(feeds: Feeds, options?: RunOptions): Promise<Record<string, DeviceTensor>>
  release(): Promise<void>
}

export interface DeviceLimits {
  /** New tokens of a sequence that one run of attention over a cache takes, at most. */
  readonly cachedQueries: number
}

/** Executes graphs. Tensors stay on it between runs. */
export interface Device {
  /**
   * Whether tensors are arrays of this program: uploading copies nothing, and results are written
   * into the tensors given for them.
   */
  readonly sharesHostMemory: boolean
  readonly limits: DeviceLimits
  readonly products: Precision
  /** Optimizers' updates over arrays of the host, where there are any. */
  readonly updates?: HostUpdates
  /** For people: "CPU, 2 threads". */
  readonly description: string
  compile(graph: Graph, options?: CompileOptions): Promise<Executable>
  /** On the CPU the array is used as it is; elsewhere it is copied there. */
  upload(host: HostTensor): Promise<DeviceTensor>
  /**
   * Brings a matrix over that nothing will change, and that graphs only multiply by from the right
   * or read rows of. Where products are bfloat16 it is held packed and the array is not needed any
   * more; elsewhere this is `upload`.
   */
  uploadFactor(matrix: HostTensor | MatrixRows): Promise<DeviceTensor>
  download(tensor: DeviceTensor): Promise<HostTensor>
  release(): Promise<void>
}

/** A float32 matrix that is read some rows at a time, so that it need not be whole in memory. */
export interface MatrixRows {
  readonly shape: readonly [rows: number, columns: number]
  /** Rows from `row` on, as many as `into` holds. */
  readonly read: (row: number, into: Float32Array) => Promise<void>
}

/** What the factors of products are rounded to; sums are float32 either way. */
export type Precision = "bf16" | "fp32"

/** Part of an optimizer's update, computed in place by a library of the host; see src/optim. */
export type HostKernel = (...arrays: readonly (Float32Array | Uint8Array)[]) => Promise<void>

export interface HostUpdates {
  /**
   * native/src/adamw.c: parameter, gradient, first and second moment of so many numbers; scalars.
   */
  readonly adamw: HostKernel
  /**
   * native/src/adamw-8bit.c: parameter, gradient, codes and scales of both moments, scalars,
   * tables.
   */
  readonly adamw8: HostKernel
}

/** An execution provider of ONNX Runtime in a library of its own. */
export interface LibraryDevice {
  /** The file. */
  readonly library: string
  /** Which, where it offers several: its name, or CPU, GPU or NPU. */
  readonly name?: string | undefined
  /** The provider's own. */
  readonly options?: Readonly<Record<string, string>> | undefined
}

export interface DeviceOptions {
  readonly device?: "auto" | "cpu" | "webgpu" | LibraryDevice
  /** "auto": one per core. Results are the same bits only for the same number. */
  readonly threads?: "auto" | number
  /** Of products; fp32 when left out. bf16 only on a CPU that multiplies it. */
  readonly dtype?: Precision
}

/** A float32 host tensor; zeros without `data`. */
export function float32(shape: readonly number[], data?: Float32Array): HostTensor {
  const size = shape.reduce((product, dim) => product * dim, 1)
  return { dtype: "f32", shape, data: data ?? new Float32Array(size) }
}

/** An int64 host tensor of small whole numbers. */
export function int64(shape: readonly number[], values: ArrayLike<number>): HostTensor {
  return { dtype: "i64", shape, data: BigInt64Array.from(Array.from(values), BigInt) }
}

/** Lets go of tensors that nothing needs any more; on the CPU the collector does. */
export function disposeAll(...groups: readonly Iterable<DeviceTensor>[]): void {
  for (const group of groups) for (const tensor of group) tensor.dispose()
}
