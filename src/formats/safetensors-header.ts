import { InputError } from "../errors.ts"
import { describeValue, isObject, type JsonObject, parseJson } from "./json.ts"

/** Bytes per element of every dtype that is read and written. */
export const DTYPE_BYTES = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E8M0: 1,
  F8_E4M3FNUZ: 1,
  F8_E5M2FNUZ: 1,
  C64: 8,
} as const

export type Dtype = keyof typeof DTYPE_BYTES

export interface TensorEntry {
  readonly dtype: Dtype
  readonly shape: readonly number[]
  /** Bytes from the start of the file, up to (not including) `end`. */
  readonly begin: number
  readonly end: number
}

export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorEntry>
  readonly metadata: Readonly<Record<string, string>>
}

/** The longest header that is read, as in the reference implementation. */
export const MAX_HEADER_BYTES = 100_000_000

function isDtype(value: unknown): value is Dtype {
  return typeof value === "string" && Object.hasOwn(DTYPE_BYTES, value)
}

const isCount = (value: unknown): value is number =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 0

/** Elements of a shape; NaN when the product is too large to be exact. */
export function elementCount(shape: readonly number[]): number {
  const count = shape.reduce((product, size) => product * size, 1)
  return Number.isSafeInteger(count) ? count : Number.NaN
}

function metadataOf(value: unknown, where: string): Record<string, string> {
  if (value === undefined || value === null) return {}
  if (!isObject(value)) {
    throw new InputError(
      `${where}: expected "__metadata__" to be an object, got ${describeValue(value)}`,
    )
  }
  for (const [key, entry] of Object.entries(value)) {
    if (typeof entry !== "string") {
      const got = describeValue(entry)
      throw new InputError(`${where}: expected text in "__metadata__" under "${key}", got ${got}`)
    }
  }
  return { ...value } as Record<string, string>
}

function tensorOf(value: unknown, where: string, dataBegin: number, fileSize: number): TensorEntry {
  if (!isObject(value))
    throw new InputError(`${where}: expected an object, got ${describeValue(value)}`)
  const { dtype, shape, data_offsets: offsets } = value as JsonObject
  if (!isDtype(dtype)) {
    const known = Object.keys(DTYPE_BYTES).join(", ")
    throw new InputError(`${where}: expected a dtype of ${known}; got ${describeValue(dtype)}`)
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    throw new InputError(
      `${where}: expected a shape of whole numbers, got ${JSON.stringify(shape)}`,
    )
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    const got = JSON.stringify(offsets)
    throw new InputError(`${where}: expected "data_offsets" to be two whole numbers, got ${got}`)
  }
  const [begin, end] = offsets as [number, number]
  const dataBytes = fileSize - dataBegin
  if (begin > end || end > dataBytes) {
    throw new InputError(
      `${where}: expected data inside the file's ${dataBytes} data bytes, got ${begin} to ${end}; the file is cut short or damaged`,
    )
  }
  const bytes = elementCount(shape) * DTYPE_BYTES[dtype]
  if (bytes !== end - begin) {
    const got = `${end - begin} bytes`
    throw new InputError(
      `${where}: ${dtype} ${JSON.stringify(shape)} needs ${bytes} bytes, got ${got}`,
    )
  }
  return { dtype, shape: [...(shape as number[])], begin: dataBegin + begin, end: dataBegin + end }
}

/** Tensors must lie end to end and fill the file: then no byte is read twice or hidden. */
function checkLayout(
  tensors: ReadonlyMap<string, TensorEntry>,
  path: string,
  dataBegin: number,
  fileSize: number,
): void {
  let cursor = dataBegin
  const byBegin = [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end)
  for (const [name, { begin, end }] of byBegin) {
    if (begin !== cursor) {
      const wrong = begin < cursor ? "overlaps the one before it" : "leaves a gap before it"
      throw new InputError(`${path}: tensor "${name}" ${wrong}; the file is damaged`)
    }
    cursor = end
  }
  if (cursor !== fileSize) {
    throw new InputError(
      `${path}: expected the tensors to end at byte ${fileSize}, the end of the file, got ${cursor}`,
    )
  }
}

/**
 * The header of a safetensors file, checked against the size of the file before anything else is
 * read: every dtype known, every shape worth its bytes, no overlaps, no gaps, nothing after the
 * end.
 *
 * @param json the header's text; the data begins at `dataBegin`.
 * @throws InputError naming the file and the tensor.
 */
export function parseHeader(
  json: string,
  path: string,
  dataBegin: number,
  fileSize: number,
): SafetensorsHeader {
  const header = parseJson(json, `${path}: the header`)
  if (!isObject(header)) {
    throw new InputError(
      `${path}: expected the header to be an object, got ${describeValue(header)}`,
    )
  }
  const tensors = new Map<string, TensorEntry>()
  for (const [name, value] of Object.entries(header)) {
    if (name === "__metadata__") continue
    tensors.set(name, tensorOf(value, `${path}: tensor "${name}"`, dataBegin, fileSize))
  }
  checkLayout(tensors, path, dataBegin, fileSize)
  return { tensors, metadata: metadataOf(header.__metadata__, path) }
}
