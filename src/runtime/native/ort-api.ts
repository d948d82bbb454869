import { readdirSync } from "node:fs"
import { createRequire } from "node:module"
import { dirname, join } from "node:path"
import { koffi } from "./koffi.ts"

/** A pointer of the C side. */
export type Pointer = bigint

type Status = Pointer | null

/**
 * Those of execution providers in libraries of their own; the strings that they give are theirs.
 */
const PLUGIN_FUNCTIONS = {
  GetKeyValuePairs: [
    298,
    "void GetKeyValuePairs(void *pairs, _Out_ void **keys, _Out_ void **values, _Out_ size_t *count)",
  ],
  RegisterExecutionProviderLibrary: [
    301,
    "void *RegisterExecutionProviderLibrary(void *env, const char *name, " +
      `${process.platform === "win32" ? "const char16_t" : "const char"} *path)`,
  ],
  GetEpDevices: [303, "void *GetEpDevices(void *env, _Out_ void **devices, _Out_ size_t *count)"],
  SessionOptionsAppendExecutionProvider_V2: [
    304,
    "void *SessionOptionsAppendExecutionProvider_V2(void *options, void *env, void *devices, " +
      "size_t count, void *keys, void *values, size_t valueCount)",
  ],
  HardwareDevice_Type: [307, "int HardwareDevice_Type(void *hardware)"],
  HardwareDevice_Vendor: [309, "const char *HardwareDevice_Vendor(void *hardware)"],
  EpDevice_EpName: [312, "const char *EpDevice_EpName(void *device)"],
  EpDevice_EpMetadata: [314, "void *EpDevice_EpMetadata(void *device)"],
  EpDevice_Device: [316, "void *EpDevice_Device(void *device)"],
} as const

/**
 * The functions used of ONNX Runtime's C interface (onnxruntime_c_api.h), each by its place in the
 * table OrtApi, which never changes.
 */
const FUNCTIONS = {
  GetErrorMessage: [2, "const char *GetErrorMessage(void *status)"],
  CreateSessionFromArray: [
    8,
    "void *CreateSessionFromArray(void *env, void *model, size_t length, void *options, _Out_ void **session)",
  ],
  Run: [
    9,
    "void *Run(void *session, void *options, void *inputNames, void *inputs, size_t inputCount, " +
      "void *outputNames, size_t outputCount, void *outputs)",
  ],
  CreateSessionOptions: [10, "void *CreateSessionOptions(_Out_ void **options)"],
  DisableMemPattern: [17, "void *DisableMemPattern(void *options)"],
  SetSessionLogSeverityLevel: [22, "void *SetSessionLogSeverityLevel(void *options, int level)"],
  SetSessionGraphOptimizationLevel: [
    23,
    "void *SetSessionGraphOptimizationLevel(void *options, int level)",
  ],
  AddCustomOpDomain: [28, "void *AddCustomOpDomain(void *options, void *domain)"],
  SetIntraOpNumThreads: [24, "void *SetIntraOpNumThreads(void *options, int threads)"],
  SetInterOpNumThreads: [25, "void *SetInterOpNumThreads(void *options, int threads)"],
  CreateTensorWithDataAsOrtValue: [
    49,
    "void *CreateTensorWithDataAsOrtValue(void *info, void *data, size_t length, void *shape, " +
      "size_t rank, int type, _Out_ void **value)",
  ],
  GetTensorMutableData: [51, "void *GetTensorMutableData(void *value, _Out_ void **data)"],
  GetTensorElementType: [60, "void *GetTensorElementType(void *info, _Out_ int *type)"],
  GetDimensionsCount: [61, "void *GetDimensionsCount(void *info, _Out_ size_t *count)"],
  GetDimensions: [62, "void *GetDimensions(void *info, void *dims, size_t count)"],
  GetTensorTypeAndShape: [65, "void *GetTensorTypeAndShape(void *value, _Out_ void **info)"],
  CreateCpuMemoryInfo: [
    69,
    "void *CreateCpuMemoryInfo(int allocator, int memory, _Out_ void **info)",
  ],
  ReleaseStatus: [93, "void ReleaseStatus(void *status)"],
  ReleaseSession: [95, "void ReleaseSession(void *session)"],
  ReleaseValue: [96, "void ReleaseValue(void *value)"],
  ReleaseTensorTypeAndShapeInfo: [99, "void ReleaseTensorTypeAndShapeInfo(void *info)"],
  ReleaseSessionOptions: [100, "void ReleaseSessionOptions(void *options)"],
  AddSessionConfigEntry: [
    130,
    "void *AddSessionConfigEntry(void *options, const char *key, const char *value)",
  ],
  CreateAndRegisterAllocator: [
    144,
    "void *CreateAndRegisterAllocator(void *env, void *memory, void *settings)",
  ],
  CreateArenaCfg: [
    156,
    "void *CreateArenaCfg(size_t most, int extend, int firstChunk, int mostWaste, _Out_ void **settings)",
  ],
  ReleaseArenaCfg: [157, "void ReleaseArenaCfg(void *settings)"],
  CreateEnvWithGlobalThreadPools: [
    119,
    "void *CreateEnvWithGlobalThreadPools(int level, const char *name, void *threading, " +
      "_Out_ void **env)",
  ],
  DisablePerSessionThreads: [120, "void *DisablePerSessionThreads(void *options)"],
  CreateThreadingOptions: [121, "void *CreateThreadingOptions(_Out_ void **threading)"],
  ReleaseThreadingOptions: [122, "void ReleaseThreadingOptions(void *threading)"],
  SetGlobalIntraOpNumThreads: [
    147,
    "void *SetGlobalIntraOpNumThreads(void *threading, int threads)",
  ],
  SetGlobalInterOpNumThreads: [
    148,
    "void *SetGlobalInterOpNumThreads(void *threading, int threads)",
  ],
  AddExternalInitializers: [
    210,
    "void *AddExternalInitializers(void *options, void *names, void *values, size_t count)",
  ],
  ...PLUGIN_FUNCTIONS,
} as const
type FunctionName = keyof typeof FUNCTIONS
type CFunction = ((...args: unknown[]) => unknown) & {
  async: (...args: unknown[]) => void
}

/** The version of the table that holds all of the above; newer libraries still offer it. */
const API_VERSION = 22

export interface OrtApi {
  /** ONNX Runtime's. */
  readonly version: string
  /** Calls a function that returns a status; throws its message. */
  check(name: FunctionName, ...args: unknown[]): void
  /** The same, away from the event loop. */
  checkAsync(name: FunctionName, ...args: unknown[]): Promise<void>
  /** Calls a function whose last parameter receives a pointer. */
  make(name: FunctionName, ...args: unknown[]): Pointer
  number(name: FunctionName, ...args: unknown[]): number
  /**
   * Calls a function that receives an array of pointers and their number, after what it is about.
   */
  list(name: FunctionName, ...args: unknown[]): Pointer[]
  /** Calls a function that returns what it is asked for, and no status. */
  value<T>(name: FunctionName, ...args: unknown[]): T
  release(name: FunctionName, pointer: Pointer): void
  address(array: ArrayBufferView): Pointer
  /** Host memory of the C side, copied. */
  copy(from: Pointer, into: ArrayBuffer): void
}

/** The library that onnxruntime-node brings for this platform. */
function libraryPath(): string {
  const root = dirname(dirname(createRequire(import.meta.url).resolve("onnxruntime-node")))
  const folder = join(root, "bin", "napi-v6", process.platform, process.arch)
  const file = readdirSync(folder).find((name) => /^(lib)?onnxruntime\.(so|dll|.*dylib)/.test(name))
  if (!file) throw new Error(`no ONNX Runtime library in ${folder}`)
  return join(folder, file)
}

let loaded: OrtApi | undefined

/** ONNX Runtime's C interface, from the library that onnxruntime-node has loaded already. */
export function ortApi(): OrtApi {
  loaded ??= load()
  return loaded
}

function pointerAt(table: Pointer, index: number, prototype: string): CFunction {
  const place = koffi.decode(table, index * koffi.sizeof("void *"), "void *")
  return koffi.decode(place, koffi.proto(prototype)) as CFunction
}

/** The pointers of a C array. */
function pointersAt(array: Pointer | null, count: number): Pointer[] {
  if (array === null) return []
  const size = koffi.sizeof("void *")
  return Array.from({ length: count }, (_, i) => koffi.decode(array, i * size, "void *") as Pointer)
}

/** The pairs of an OrtKeyValuePairs. */
export function keyValuePairs(api: OrtApi, pairs: Pointer): Record<string, string> {
  const [keys, values, count] = [[null], [null], [0]]
  api.value("GetKeyValuePairs", pairs, keys, values, count)
  const strings = (array: Pointer | null) =>
    pointersAt(array, Number(count[0])).map((each) => koffi.decode(each, "char", -1) as string)
  const named = strings(values[0]!)
  return Object.fromEntries(strings(keys[0]!).map((key, i) => [key, named[i]!]))
}

let openedTable: Pointer | undefined

const apiBase = () => koffi.load(libraryPath()).func("const void *OrtGetApiBase()")() as Pointer

/** The table OrtApi itself, for other C code. */
export function runtimeTable(): Pointer {
  if (openedTable !== undefined) return openedTable
  const base = apiBase()
  const table = pointerAt(base, 0, "const void *GetApi(uint32_t version)")(API_VERSION)
  if (!table) throw new Error(`${libraryPath()} is older than ONNX Runtime 1.${API_VERSION}`)
  openedTable = table as Pointer
  return openedTable
}

function load(): OrtApi {
  const table = runtimeTable()
  const functions = Object.fromEntries(
    Object.entries(FUNCTIONS).map(([name, [index, prototype]]) => [
      name,
      pointerAt(table, index, prototype),
    ]),
  ) as Readonly<Record<FunctionName, CFunction>>

  const refuse = (status: Status) => {
    if (!status) return
    const message = functions.GetErrorMessage(status) as string
    functions.ReleaseStatus(status)
    throw new Error(message)
  }
  const check: OrtApi["check"] = (name, ...args) => refuse(functions[name](...args) as Status)
  return {
    version: pointerAt(apiBase(), 1, "const char *GetVersionString()")() as string,
    check,
    checkAsync: (name, ...args) =>
      new Promise((resolve, reject) => {
        functions[name].async(...args, (error: unknown, status: Status) => {
          try {
            if (error) throw error
            refuse(status)
            resolve()
          } catch (problem) {
            reject(problem)
          }
        })
      }),
    make(name, ...args) {
      const out: [Pointer | null] = [null]
      check(name, ...args, out)
      return out[0]!
    },
    number(name, ...args) {
      const out = [0]
      check(name, ...args, out)
      return Number(out[0])
    },
    list(name, ...args) {
      const [array, count] = [[null] as [Pointer | null], [0]]
      check(name, ...args, array, count)
      return pointersAt(array[0], Number(count[0]))
    },
    value: <T>(name: FunctionName, ...args: unknown[]) => functions[name](...args) as T,
    release(name, pointer) {
      functions[name](pointer)
    },
    address: (array) => koffi.address(array),
    copy(from, into) {
      new Uint8Array(into).set(new Uint8Array(koffi.view(from, into.byteLength)))
    },
  }
}
