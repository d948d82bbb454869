import { InputError } from "../errors.ts"
import {
  type ElementKind,
  type GgufMetadata,
  type GgufScalar,
  type GgufValue,
  kindOfCode,
  NUMBER_LAYOUTS,
} from "./gguf-metadata.ts"
import {
  GGUF_ALIGNMENT,
  GGUF_MAGIC,
  GGUF_MAX_NAME,
  GGUF_TYPE_CODES,
  GGUF_UNREAD,
  type GgufType,
  ggufBytes,
  padding,
} from "./gguf-types.ts"

export interface GgufTensorEntry {
  readonly type: GgufType
  /** Row major: the reverse of the order in the file. */
  readonly shape: readonly number[]
  /** Bytes from the start of the file, up to (not including) `end`. */
  readonly begin: number
  readonly end: number
}

export interface GgufHeader {
  readonly metadata: GgufMetadata
  readonly tensors: ReadonlyMap<string, GgufTensorEntry>
}

/** The header goes on where the bytes at hand end; the file may have more of them. */
export class OutOfBytes extends Error {}

const MAX_DIMENSIONS = 4
const MAX_ALIGNMENT = 1 << 20
const MAX_KEY_BYTES = 65_535
/** Of all arrays together, several times the largest vocabulary with its merges. */
const MAX_ELEMENTS = 8_000_000

interface Place {
  readonly path: string
  readonly fileSize: number
}

/** Reads from the front; no length in the file is believed before the bytes behind it are there. */
class Cursor {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  readonly #place: Place
  at = 0
  /** Of the arrays read so far. */
  elements = 0

  constructor(bytes: Uint8Array, place: Place) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    this.#place = place
  }
  #take(bytes: number, what: string): number {
    const at = this.at
    if (bytes > this.#place.fileSize - at) {
      throw new InputError(
        `${this.#place.path}: ${what} would end after the file; it is cut short or damaged`,
      )
    }
    if (bytes > this.#bytes.length - at) throw new OutOfBytes()
    this.at += bytes
    return at
  }
  number(kind: keyof typeof NUMBER_LAYOUTS, what: string): number | bigint | boolean {
    const { bytes, read } = NUMBER_LAYOUTS[kind]
    return read(this.#view, this.#take(bytes, what))
  }
  uint32(what: string): number {
    return this.number("uint32", what) as number
  }
  /**
   * A 64-bit number of things of at least `bytesEach` bytes: no more than the file has room for.
   */
  count(what: string, bytesEach: number): number {
    const count = this.number("uint64", what) as bigint
    const room = Math.floor((this.#place.fileSize - this.at) / bytesEach)
    if (count > BigInt(room)) {
      throw new InputError(
        `${this.#place.path}: ${what}: expected at most ${room}, for which the file has room, got ${count}`,
      )
    }
    return Number(count)
  }
  string(what: string, mostBytes = Number.POSITIVE_INFINITY): string {
    const length = this.count(`the length of ${what}`, 1)
    if (length > mostBytes) {
      throw new InputError(
        `${this.#place.path}: ${what}: expected at most ${mostBytes} bytes, got ${length}`,
      )
    }
    const from = this.#take(length, what)
    try {
      return UTF8.decode(this.#bytes.subarray(from, from + length))
    } catch {
      throw new InputError(`${this.#place.path}: ${what} is not UTF-8`)
    }
  }
}

const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const elementBytes = (kind: ElementKind): number =>
  kind === "string" ? 8 : NUMBER_LAYOUTS[kind].bytes

function readElement(cursor: Cursor, kind: ElementKind, what: string): GgufScalar["value"] {
  return kind === "string" ? cursor.string(what) : cursor.number(kind, what)
}

function readValue(cursor: Cursor, what: string, path: string): GgufValue {
  const kindOf = (): GgufValue["kind"] => {
    const code = cursor.uint32(what)
    const kind = kindOfCode(code)
    if (kind !== undefined) return kind
    throw new InputError(`${path}: ${what}: expected a kind of 0 to 12, got ${code}`)
  }
  const kind = kindOf()
  if (kind !== "array") return { kind, value: readElement(cursor, kind, what) } as GgufScalar
  const of = kindOf()
  if (of === "array") throw new InputError(`${path}: ${what}: arrays of arrays are not read`)
  const count = cursor.count(`the length of ${what}`, elementBytes(of))
  cursor.elements += count
  if (cursor.elements > MAX_ELEMENTS) {
    throw new InputError(
      `${path}: ${what}: expected at most ${MAX_ELEMENTS} elements in all arrays, got more`,
    )
  }
  const value: GgufScalar["value"][] = []
  for (let i = 0; i < count; i++) value.push(readElement(cursor, of, what))
  return { kind, of, value }
}

function readMetadata(cursor: Cursor, count: number, path: string): Map<string, GgufValue> {
  const metadata = new Map<string, GgufValue>()
  for (let i = 0; i < count; i++) {
    const key = cursor.string(`metadata key ${i}`, MAX_KEY_BYTES)
    if (metadata.has(key)) throw new InputError(`${path}: metadata key "${key}" twice`)
    metadata.set(key, readValue(cursor, `metadata "${key}"`, path))
  }
  return metadata
}

function alignmentOf(metadata: GgufMetadata, path: string): number {
  const said = metadata.get("general.alignment")
  if (said === undefined) return GGUF_ALIGNMENT
  const { kind, value } = said
  const fine =
    kind === "uint32" && value > 0 && value <= MAX_ALIGNMENT && (value & (value - 1)) === 0
  if (fine) return value
  throw new InputError(
    `${path}: expected "general.alignment" to be a power of two up to ${MAX_ALIGNMENT}, got ${String(value)}`,
  )
}

const TYPE_OF_CODE: ReadonlyMap<number, GgufType> = new Map(
  Object.entries(GGUF_TYPE_CODES).map(([type, code]) => [code, type as GgufType]),
)

interface TensorInfo {
  readonly name: string
  readonly type: GgufType
  readonly shape: readonly number[]
  readonly bytes: number
  /** From the start of the data. */
  readonly offset: bigint
}

function readTensorInfo(cursor: Cursor, index: number, { path, fileSize }: Place): TensorInfo {
  const name = cursor.string(`the name of tensor ${index}`, GGUF_MAX_NAME)
  const where = `${path}: tensor "${name}"`
  const dimensions = cursor.uint32(`tensor "${name}"`)
  if (dimensions > MAX_DIMENSIONS) {
    throw new InputError(
      `${where}: expected at most ${MAX_DIMENSIONS} dimensions, got ${dimensions}`,
    )
  }
  const sizes = Array.from({ length: dimensions }, () => cursor.number("uint64", where) as bigint)
  const code = cursor.uint32(`tensor "${name}"`)
  const type = TYPE_OF_CODE.get(code)
  if (type === undefined) {
    const known = Object.keys(GGUF_TYPE_CODES).join(", ")
    const came = GGUF_UNREAD.get(code) ?? `number ${code}`
    throw new InputError(`${where}: expected a type of ${known}; got ${came}`)
  }
  const shape = sizes.map(Number).toReversed()
  const bytes = ggufBytes(type, shape)
  if (!(bytes <= fileSize)) {
    throw new InputError(
      `${where}: ${type} [${shape}] does not fit: ${Number.isNaN(bytes) ? "its rows are not whole blocks" : `${bytes} bytes in a file of ${fileSize}`}`,
    )
  }
  return { name, type, shape, bytes, offset: cursor.number("uint64", where) as bigint }
}

/**
 * Tensors must lie one after the other, each at the next multiple of the alignment (as ggml's own
 * reader asks), and end with the file: then no byte is read twice or hidden.
 */
function placed(
  infos: readonly TensorInfo[],
  dataBegin: number,
  alignment: number,
  { path, fileSize }: Place,
): Map<string, GgufTensorEntry> {
  const tensors = new Map<string, GgufTensorEntry>()
  let offset = 0
  let end = dataBegin
  for (const { name, type, shape, bytes, offset: said } of infos) {
    if (said !== BigInt(offset)) {
      throw new InputError(
        `${path}: tensor "${name}": expected its data at offset ${offset}, after the one before it, got ${said}`,
      )
    }
    if (tensors.has(name)) throw new InputError(`${path}: tensor "${name}" twice`)
    const begin = dataBegin + offset
    end = begin + bytes
    if (end > fileSize) {
      throw new InputError(
        `${path}: tensor "${name}" ends after the file; it is cut short or damaged`,
      )
    }
    tensors.set(name, { type, shape, begin, end })
    offset += bytes + padding(bytes, alignment)
  }
  if (fileSize > end + padding(end, alignment)) {
    throw new InputError(
      `${path}: expected the file to end after its tensors, at byte ${end}, got ${fileSize}`,
    )
  }
  return tensors
}

/**
 * The header of a GGUF file, checked against the size of the file: every length, count and kind
 * before anything of that size is made.
 *
 * @param bytes the file from its start, as much as is at hand
 * @throws OutOfBytes when the header goes on after `bytes` and the file may hold the rest
 * @throws InputError naming the file and the key or tensor
 */
export function parseGgufHeader(bytes: Uint8Array, place: Place): GgufHeader {
  const { path } = place
  const cursor = new Cursor(bytes, place)
  const magic = cursor.uint32("the header")
  if (magic !== GGUF_MAGIC) throw new InputError(`${path}: expected a GGUF file, got another kind`)
  const version = cursor.uint32("the header")
  if (version !== 2 && version !== 3) {
    throw new InputError(`${path}: expected GGUF version 2 or 3, little endian, got ${version}`)
  }
  // The least that a tensor takes: name, dimensions, type, offset; and a key: name, kind, value.
  const tensorCount = cursor.count("the number of tensors", 24)
  const metadataCount = cursor.count("the number of metadata keys", 13)
  const metadata = readMetadata(cursor, metadataCount, path)
  const alignment = alignmentOf(metadata, path)
  const infos: TensorInfo[] = []
  for (let i = 0; i < tensorCount; i++) infos.push(readTensorInfo(cursor, i, place))
  const dataBegin = cursor.at + padding(cursor.at, alignment)
  return { metadata, tensors: placed(infos, dataBegin, alignment, place) }
}
