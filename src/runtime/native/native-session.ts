import { setImmediate } from "node:timers/promises"
import type { InferenceSession, Tensor as OrtTensor } from "onnxruntime-common"
import { assert } from "../../errors.ts"
import { onHugePages } from "./c-library.ts"
import { type OrtApi, ortApi, type Pointer } from "./ort-api.ts"
import { ownOperators } from "./own-kernels.ts"

/** ONNX's numbers for element types, with what holds them here. */
const TYPES = {
  float32: [1, Float32Array],
  uint8: [2, Uint8Array],
  uint16: [4, Uint16Array],
  int32: [6, Int32Array],
  int64: [7, BigInt64Array],
  bool: [9, Uint8Array],
} as const
type TypeName = keyof typeof TYPES
type HostArray = InstanceType<(typeof TYPES)[TypeName][1]>

interface Environment {
  readonly api: OrtApi
  readonly env: Pointer
  readonly memory: Pointer
  /** Of the pool that all sessions of this number share. */
  readonly threads: number
}

const LOG_ERRORS = 3
const LOG_NOTHING = 4
const ALL_OPTIMIZATIONS = 99
let started: Environment | undefined

/**
 * Starts ONNX Runtime with one pool of threads for all sessions: each session's own would go on
 * waiting by spinning while the next session runs. To be called before anything else of ONNX
 * Runtime is used; the first call's number of threads counts.
 */
export function startOnnxRuntime(threads: number): void {
  if (started) return
  const api = ortApi()
  const threading = api.make("CreateThreadingOptions")
  try {
    api.check("SetGlobalIntraOpNumThreads", threading, threads)
    api.check("SetGlobalInterOpNumThreads", threading, 1)
    started = {
      api,
      env: api.make("CreateEnvWithGlobalThreadPools", LOG_ERRORS, "dftune", threading),
      memory: api.make("CreateCpuMemoryInfo", 1, 0),
      threads,
    }
    shareArena(started)
  } finally {
    api.release("ReleaseThreadingOptions", threading)
  }
}

/** What the arena takes from the system at a time, or twice as much each time it was not enough. */
const DOUBLING = 0
const ARENA_BYTES = 2 ** 30
const DEFAULT = -1

/**
 * One arena for all sessions: only one runs at a time, so what one has finished with serves the
 * next, and a graph compiled for one more size costs no memory of its own. It begins with more
 * address space than it will mostly need; memory becomes of it what is written to. In pieces as
 * large as each request, those of a small run would be of no use to a larger one: a head that met
 * 100 to 500 rows held 554 MB where it needs 196.
 */
function shareArena({ api, env, memory }: Environment): void {
  const settings = api.make("CreateArenaCfg", 0, DOUBLING, ARENA_BYTES, DEFAULT)
  api.check("CreateAndRegisterAllocator", env, memory, settings)
  api.release("ReleaseArenaCfg", settings)
}

export function environment(): Environment {
  assert(started, "startOnnxRuntime comes first")
  return started
}

type TensorClass = typeof OrtTensor

/**
 * A session on the CPU over ONNX Runtime's C interface: results are written into the arrays they
 * are given, where onnxruntime-node's own binding copies every result once more into fresh memory.
 */
export class NativeSession implements Pick<InferenceSession, "run" | "release"> {
  readonly #session: Pointer
  readonly #Tensor: TensorClass
  /** Its runs take all threads there are: nothing is gained by having another beside one. */
  readonly #alone: boolean
  #lastRun = { bytes: 0, milliseconds: 0 }
  readonly #names = new Map<string, CStrings>()
  /** What runs under way point into: the collector must not take it. */
  readonly #running = new Set<unknown>()
  /** ONNX Runtime keeps pointers to them. */
  readonly #initializers: readonly Pointer[]
  #released = false
  #freed = false

  /**
   * With a `provider`, what it has no kernel for is left to the CPU, or is an error.
   *
   * `constants` are the data of the model's initializers that have none; their memory must outlive
   * the session unless all that reads them keeps a packed copy.
   */
  constructor(
    model: Uint8Array,
    threads: number,
    Tensor: TensorClass,
    constants: Readonly<Record<string, OrtTensor>> = {},
    provider?: Provider,
  ) {
    const { api, env, threads: shared } = environment()
    this.#Tensor = Tensor
    this.#alone = threads === shared && threads > 1
    const options = api.make("CreateSessionOptions")
    this.#initializers = Object.values(constants).map(valueOver)
    try {
      if (this.#initializers.length > 0) {
        const names = cStrings(Object.keys(constants))
        const values = BigUint64Array.from(this.#initializers)
        api.check("AddExternalInitializers", options, names.pointers, values, values.length)
      }
      if (threads === shared) api.check("DisablePerSessionThreads", options)
      else api.check("SetIntraOpNumThreads", options, threads)
      api.check("SetInterOpNumThreads", options, 1)
      api.check("SetSessionGraphOptimizationLevel", options, ALL_OPTIMIZATIONS)
      api.check("DisableMemPattern", options)
      api.check("AddSessionConfigEntry", options, "session.use_env_allocators", "1")
      // What a strict session is refused for is its caller's to tell.
      const least = provider?.strict ? LOG_NOTHING : LOG_ERRORS
      api.check("SetSessionLogSeverityLevel", options, least)
      if (provider) addProvider(options, provider)
      const operators = ownOperators(shared)
      if (operators !== null) api.check("AddCustomOpDomain", options, operators)
      const weights = Object.values(constants).reduce((sum, x) => sum + bytesOf(x), 0)
      this.#session = onHugePages(weights, () =>
        api.make("CreateSessionFromArray", env, model, model.length, options),
      )
    } finally {
      api.release("ReleaseSessionOptions", options)
    }
  }

  /** Results that were given no array come in a new one. */
  async run(
    feeds: Readonly<Record<string, OrtTensor>>,
    fetches: Readonly<Record<string, OrtTensor | null>>,
  ): Promise<Record<string, OrtTensor>> {
    const { api } = environment()
    const names = Object.keys(fetches)
    const inputs = BigUint64Array.from(Object.values(feeds), valueOver)
    const given = names.map((name) => fetches[name])
    const outputs = BigUint64Array.from(given, (tensor) => (tensor ? valueOver(tensor) : 0n))
    const bytes = Object.values(feeds).reduce((sum, x) => sum + bytesOf(x), 0)
    const last = this.#lastRun
    const isShort = this.#alone && last.bytes === bytes && last.milliseconds < SHORT_MILLISECONDS
    const alive = { feeds, given, inputs, outputs }
    this.#running.add(alive)
    try {
      const begun = performance.now()
      const run = [
        this.#session,
        null,
        this.#cStrings(Object.keys(feeds)).pointers,
        inputs,
        inputs.length,
        this.#cStrings(names).pointers,
        names.length,
        outputs,
      ]
      if (isShort) api.check("Run", ...run)
      else await api.checkAsync("Run", ...run)
      this.#lastRun = { bytes, milliseconds: performance.now() - begun }
      if (isShort) await eventLoopTurn()
      return Object.fromEntries(
        names.map((name, i) => [name, given[i] ?? tensorOf(outputs[i]!, this.#Tensor)]),
      )
    } finally {
      for (const value of [...inputs, ...outputs]) if (value) api.release("ReleaseValue", value)
      this.#running.delete(alive)
      this.#free()
    }
  }

  async release(): Promise<void> {
    this.#released = true
    this.#free()
  }

  #free(): void {
    if (!this.#released || this.#freed || this.#running.size > 0) return
    this.#freed = true
    const { api } = environment()
    api.release("ReleaseSession", this.#session)
    for (const value of this.#initializers) api.release("ReleaseValue", value)
  }

  #cStrings(names: readonly string[]): CStrings {
    const key = names.join("\n")
    const known = this.#names.get(key) ?? cStrings(names)
    this.#names.set(key, known)
    return known
  }
}

/** An execution provider that is asked before the CPU's. */
export interface Provider {
  readonly device: Pointer
  readonly options: Readonly<Record<string, string>>
  /** Whether what it has no kernel for is an error. */
  readonly strict: boolean
}

function addProvider(sessionOptions: Pointer, { device, options, strict }: Provider): void {
  const { api, env } = environment()
  const [keys, values] = [cStrings(Object.keys(options)), cStrings(Object.values(options))]
  const [pairs, devices] = [keys.pointers.length, BigUint64Array.of(device)]
  const append = "SessionOptionsAppendExecutionProvider_V2"
  api.check(append, sessionOptions, env, devices, 1, keys.pointers, values.pointers, pairs)
  if (strict) api.check("AddSessionConfigEntry", sessionOptions, NO_FALLBACK, "1")
}

const NO_FALLBACK = "session.disable_cpu_ep_fallback"

/**
 * A run that took less the last time is made on this thread. Handing it to another costs one or two
 * milliseconds where ONNX Runtime's own threads, which wait by spinning, leave no core free for it.
 */
const SHORT_MILLISECONDS = 25
/** Timers, signals and other work wait this long and a short run at most. */
const TURN_MILLISECONDS = 10
let lastTurn = 0

async function eventLoopTurn(): Promise<void> {
  if (performance.now() - lastTurn < TURN_MILLISECONDS) return
  await setImmediate()
  lastTurn = performance.now()
}

interface CStrings {
  readonly pointers: BigUint64Array
  /** What the pointers point into. */
  readonly bytes: Uint8Array
}

function cStrings(names: readonly string[]): CStrings {
  const encoded = names.map((name) => new TextEncoder().encode(`${name}\0`))
  const bytes = new Uint8Array(encoded.reduce((sum, { length }) => sum + length, 0))
  const start = ortApi().address(bytes)
  let offset = 0
  const pointers = BigUint64Array.from(encoded, (name) => {
    bytes.set(name, offset)
    offset += name.length
    return start + BigInt(offset - name.length)
  })
  return { pointers, bytes }
}

const bytesOf = ({ data }: OrtTensor) => (data as HostArray).byteLength

/** A value over the tensor's own memory, which must outlive it. */
function valueOver({ type, data, dims }: OrtTensor): Pointer {
  const { api, memory } = environment()
  const array = data as HostArray
  const shape = BigInt64Array.from(dims, BigInt)
  const [number] = TYPES[type as TypeName]
  const { byteLength } = array
  const make = "CreateTensorWithDataAsOrtValue"
  return api.make(make, memory, array, byteLength, shape, dims.length, number)
}

/** A copy of a value that ONNX Runtime made. */
function tensorOf(value: Pointer, Tensor: TensorClass): OrtTensor {
  const { api } = environment()
  const info = api.make("GetTensorTypeAndShape", value)
  try {
    const rank = api.number("GetDimensionsCount", info)
    const dims = new BigInt64Array(rank)
    if (rank > 0) api.check("GetDimensions", info, dims, rank)
    const number = api.number("GetTensorElementType", info)
    const found = Object.entries(TYPES).find(([, [each]]) => each === number)
    if (!found) throw new Error(`a result of element type ${number}`)
    const [type, [, HostArrayType]] = found
    const shape = Array.from(dims, Number)
    const data = new HostArrayType(shape.reduce((product, dim) => product * dim, 1))
    if (data.length > 0) api.copy(api.make("GetTensorMutableData", value), data.buffer)
    return new Tensor(type as "float32", data as Float32Array, shape)
  } finally {
    api.release("ReleaseTensorTypeAndShapeInfo", info)
  }
}
