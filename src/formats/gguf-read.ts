import { InputError } from "../errors.ts"
import { openFile } from "./disk-folder.ts"
import type { ByteSource } from "./folder.ts"
import {
  type GgufHeader,
  type GgufTensorEntry,
  OutOfBytes,
  parseGgufHeader,
} from "./gguf-header.ts"
import type { GgufMetadata } from "./gguf-metadata.ts"
import { ggufBytes, ggufValues } from "./gguf-types.ts"

/** An open GGUF file. Nothing but the header is kept. */
export interface GgufReader {
  readonly metadata: GgufMetadata
  readonly tensors: ReadonlyMap<string, GgufTensorEntry>
  /** The tensor's bytes as they lie in the file. */
  read(name: string): Promise<Uint8Array>
  /** Its values, dequantised to float32, into memory of its size if given. */
  readFloat32(name: string, into?: Float32Array): Promise<Float32Array>
  /** `count` values from `from` on, both in whole rows (the last axis). */
  readRows(name: string, from: number, count: number, into?: Float32Array): Promise<Float32Array>
  close(): Promise<void>
}

/** The longest header that is read; the largest vocabularies take 30 MB. */
const MAX_HEADER_BYTES = 100_000_000
const FIRST_READ = 1 << 20
/** Values that are read and dequantised at a time. */
const PIECE_VALUES = 1 << 20

/** A header does not say how long it is: more is read until it is whole. */
async function readHeader({ path, bytes: size, readInto }: ByteSource): Promise<GgufHeader> {
  const most = Math.min(size, MAX_HEADER_BYTES)
  let prefix = new Uint8Array(0)
  for (let length = Math.min(FIRST_READ, most); ; length = Math.min(2 * length, most)) {
    const longer = new Uint8Array(length)
    longer.set(prefix)
    await readInto(longer.subarray(prefix.length), prefix.length)
    prefix = longer
    try {
      return parseGgufHeader(prefix, { path, fileSize: size })
    } catch (error) {
      if (!(error instanceof OutOfBytes)) throw error
      if (length < most) continue
      const limit = size > MAX_HEADER_BYTES ? ` within ${MAX_HEADER_BYTES} bytes` : ""
      throw new InputError(
        `${path}: the header does not end${limit}; the file is cut short, damaged, or not GGUF`,
      )
    }
  }
}

/** {@link openGgufIn} of a file on the disk. */
export async function openGguf(path: string): Promise<GgufReader> {
  return openGgufIn(await openFile(path))
}

/**
 * Opens a GGUF file (version 2 or 3, little endian); its header is checked against its size first.
 * Closing the reader closes the source.
 *
 * @throws InputError naming the file (and the key or tensor) for anything missing, damaged or
 * unknown
 */
export async function openGgufIn(source: ByteSource): Promise<GgufReader> {
  const { path } = source
  let header: GgufHeader
  try {
    header = await readHeader(source)
  } catch (error) {
    await source.close()
    throw error
  }
  const entry = (name: string): GgufTensorEntry => {
    const found = header.tensors.get(name)
    if (found === undefined) throw new InputError(`${path}: no tensor "${name}"`)
    return found
  }
  const bytesAt = async (begin: number, end: number): Promise<Uint8Array> => {
    const bytes = new Uint8Array(end - begin)
    await source.readInto(bytes, begin)
    return bytes
  }
  const readRows: GgufReader["readRows"] = async (name, from, count, into) => {
    const { type, begin } = entry(name)
    const values = into ?? new Float32Array(count)
    const row = entry(name).shape.at(-1) ?? 1
    const piece = Math.max(row, Math.floor(PIECE_VALUES / row) * row)
    for (let done = 0; done < count; done += piece) {
      const size = Math.min(piece, count - done)
      const at = begin + ggufBytes(type, [from + done])
      const bytes = await bytesAt(at, at + ggufBytes(type, [size]))
      ggufValues(type, bytes, values.subarray(done, done + size))
    }
    return values
  }
  return {
    ...header,
    read: (name) => bytesAt(entry(name).begin, entry(name).end),
    readFloat32(name, into) {
      const count = entry(name).shape.reduce((product, size) => product * size, 1)
      return readRows(name, 0, count, into)
    },
    readRows,
    close: () => source.close(),
  }
}
