import { assert, InputError } from "../errors.ts"
import type { ByteSource } from "./folder.ts"
import {
  DTYPE_BYTES,
  type Dtype,
  elementCount,
  MAX_HEADER_BYTES,
  parseHeader,
  type SafetensorsHeader,
  type TensorEntry,
} from "./safetensors-header.ts"
import { WIDEN_PIECE, withWideners } from "./widen.ts"

export type { Dtype, TensorEntry } from "./safetensors-header.ts"

/** An open file or checkpoint. Tensors are read by ranges; nothing but the header is kept. */
export interface TensorReader {
  readonly tensors: ReadonlyMap<string, TensorEntry>
  readonly metadata: Readonly<Record<string, string>>
  /** The tensor's bytes as they lie in the file (little endian). */
  read(name: string): Promise<Uint8Array>
  /**
   * F64, F32, F16 or BF16 as float32, into `into` when given (of exactly the tensor's elements).
   *
   * @throws InputError for any other dtype.
   */
  readFloat32(name: string, into?: Float32Array): Promise<Float32Array>
  /** Rows of a matrix from `row` on, as `readFloat32`, as many as `into` holds. */
  readRows(name: string, row: number, into: Float32Array): Promise<void>
  close(): Promise<void>
}

/** A tensor to write. `data` may be made on demand: it is then asked for once, in file order. */
export interface TensorToWrite {
  readonly name: string
  readonly dtype: Dtype
  readonly shape: readonly number[]
  readonly data: Uint8Array | (() => Uint8Array | Promise<Uint8Array>)
}

const PIECE_BYTES = 2 * WIDEN_PIECE

async function readHeader(source: ByteSource): Promise<SafetensorsHeader> {
  const { path, bytes: size } = source
  if (size < 8) {
    throw new InputError(`${path}: expected a safetensors file, got ${size} bytes`)
  }
  const prefix = new Uint8Array(8)
  await source.readInto(prefix, 0)
  const length = new DataView(prefix.buffer).getBigUint64(0, true)
  if (length > BigInt(Math.min(size - 8, MAX_HEADER_BYTES))) {
    throw new InputError(
      `${path}: expected a header of at most ${Math.min(size - 8, MAX_HEADER_BYTES)} bytes, got ${length}; the file is cut short, damaged, or not safetensors`,
    )
  }
  const json = new Uint8Array(Number(length))
  await source.readInto(json, 8)
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(json)
    return parseHeader(text, path, 8 + json.length, size)
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    throw new InputError(`${path}: the header is not UTF-8`)
  }
}

/** Reads the next piece while the last one is widened. */
async function readWidened(
  source: ByteSource,
  { begin, end }: TensorEntry,
  dtype: "BF16" | "F16",
  target: Float32Array,
): Promise<void> {
  const pieces = Math.ceil((end - begin) / PIECE_BYTES)
  const bytesOf = (k: number): number => Math.min(PIECE_BYTES, end - begin - k * PIECE_BYTES)
  await withWideners(Math.min(2, pieces), async (wideners) => {
    const fetched = (k: number): Promise<void> => {
      if (k >= pieces) return Promise.resolve()
      const memory = wideners[k % wideners.length]!.halves.subarray(0, bytesOf(k))
      return source.readInto(memory, begin + k * PIECE_BYTES)
    }
    let next = fetched(0)
    for (let k = 0; k < pieces; k++) {
      await next
      next = fetched(k + 1)
      const floats = wideners[k % wideners.length]!.widen(dtype, bytesOf(k) / 2)
      target.set(floats, k * WIDEN_PIECE)
    }
  })
}

/** float64 numbers rounded to float32, a piece at a time. */
async function readNarrowed(
  source: ByteSource,
  { begin, end }: TensorEntry,
  target: Float32Array,
): Promise<void> {
  const piece = new Float64Array(PIECE_BYTES / 8)
  for (let at = begin; at < end; at += PIECE_BYTES) {
    const doubles = piece.subarray(0, Math.min(PIECE_BYTES, end - at) / 8)
    await source.readInto(new Uint8Array(piece.buffer, 0, doubles.byteLength), at)
    target.set(doubles, (at - begin) / 8)
  }
}

/**
 * Reads a safetensors file by ranges; its header is checked against its size first.
 *
 * @throws InputError naming the file (and the tensor) for anything damaged or unknown; the source
 * is then closed.
 */
export async function readSafetensors(source: ByteSource): Promise<TensorReader> {
  const { path } = source
  const header = await readHeader(source).catch(async (error: unknown) => {
    await source.close()
    throw error
  })
  const entry = (name: string): TensorEntry => {
    const found = header.tensors.get(name)
    if (found === undefined) throw new InputError(`${path}: no tensor "${name}"`)
    return found
  }
  const readFloats = async (found: TensorEntry, target: Float32Array, name: string) => {
    const { dtype, begin } = found
    if (dtype === "F32") {
      const bytes = new Uint8Array(target.buffer, target.byteOffset, target.byteLength)
      await source.readInto(bytes, begin)
    } else if (dtype === "BF16" || dtype === "F16") {
      await readWidened(source, found, dtype, target)
    } else if (dtype === "F64") {
      await readNarrowed(source, found, target)
    } else {
      throw new InputError(
        `${path}: tensor "${name}": expected F64, F32, F16 or BF16 weights, got ${dtype}`,
      )
    }
  }
  return {
    ...header,
    async read(name) {
      const { begin, end } = entry(name)
      const bytes = new Uint8Array(end - begin)
      await source.readInto(bytes, begin)
      return bytes
    },
    async readFloat32(name, into) {
      const found = entry(name)
      const target = into ?? new Float32Array(elementCount(found.shape))
      assert(
        target.length === elementCount(found.shape),
        `readFloat32 of "${name}": expected room for [${found.shape}], got ${target.length} elements`,
      )
      const pages = into ? undefined : source.prefault?.(target)
      try {
        await readFloats(found, target, name)
      } finally {
        await pages // the kernel works on this memory: it must not be collected before
      }
      return target
    },
    async readRows(name, row, into) {
      const { dtype, shape, begin } = entry(name)
      const [rows, columns] = shape as [number, number]
      const count = into.length / columns
      const fits = shape.length === 2 && Number.isInteger(count) && row >= 0 && row + count <= rows
      assert(fits, `readRows of "${name}" [${shape}]: row ${row} into ${into.length} elements`)
      const start = begin + row * columns * DTYPE_BYTES[dtype]
      const end = start + into.length * DTYPE_BYTES[dtype]
      await readFloats({ dtype, shape: [into.length], begin: start, end }, into, name)
    },
    close: () => source.close(),
  }
}

/**
 * The bytes of a header, padded with spaces so that the data begins at a multiple of 8.
 * Wider elements come first, so that every tensor is aligned to its element size.
 */
function layout(
  tensors: Iterable<TensorToWrite>,
  metadata: Readonly<Record<string, string>>,
): { readonly header: Uint8Array; readonly ordered: readonly TensorToWrite[] } {
  const ordered = [...tensors].sort((a, b) => DTYPE_BYTES[b.dtype] - DTYPE_BYTES[a.dtype])
  const entries = new Map<string, unknown>()
  if (Object.keys(metadata).length > 0) entries.set("__metadata__", metadata)
  let offset = 0
  for (const { name, dtype, shape } of ordered) {
    assert(name !== "__metadata__" && !entries.has(name), `tensor "${name}" twice in one file`)
    const bytes = elementCount(shape) * DTYPE_BYTES[dtype]
    entries.set(name, { dtype, shape, data_offsets: [offset, offset + bytes] })
    offset += bytes
  }
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(entries)))
  const padded = Math.ceil(json.length / 8) * 8
  const header = new Uint8Array(8 + padded).fill(0x20)
  new DataView(header.buffer).setBigUint64(0, BigInt(padded), true)
  header.set(json, 8)
  return { header, ordered }
}

/**
 * The bytes of a safetensors file, piece after piece: its header, then a tensor at a time.
 *
 * @param metadata goes into `__metadata__`; Transformers wants `{ format: "pt" }` there.
 */
export async function* safetensorsPieces(
  tensors: Iterable<TensorToWrite>,
  metadata: Readonly<Record<string, string>> = { format: "pt" },
): AsyncGenerator<Uint8Array> {
  const { header, ordered } = layout(tensors, metadata)
  yield header
  for (const { name, dtype, shape, data } of ordered) {
    const bytes = typeof data === "function" ? await data() : data
    const expected = elementCount(shape) * DTYPE_BYTES[dtype]
    assert(
      bytes.length === expected,
      `tensor "${name}": ${dtype} [${shape}] needs ${expected} bytes, got ${bytes.length}`,
    )
    yield bytes
  }
}
