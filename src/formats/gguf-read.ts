import type { FileHandle } from "node:fs/promises"
import { InputError } from "../errors.ts"
import { readInto } from "./file-bytes.ts"
import {
  type GgufHeader,
  type GgufTensorEntry,
  OutOfBytes,
  parseGgufHeader,
} from "./gguf-header.ts"
import type { GgufMetadata } from "./gguf-metadata.ts"
import { GGUF_ENCODINGS } from "./gguf-types.ts"
import { openToRead, readError } from "./json-files.ts"

/** An open GGUF file. Nothing but the header is kept. */
export interface GgufReader {
  readonly metadata: GgufMetadata
  readonly tensors: ReadonlyMap<string, GgufTensorEntry>
  /** The tensor's bytes as they lie in the file. */
  read(name: string): Promise<Uint8Array>
  /** Its values, dequantised to float32. */
  readFloat32(name: string): Promise<Float32Array>
  close(): Promise<void>
}

/** The longest header that is read; the largest vocabularies take 30 MB. */
const MAX_HEADER_BYTES = 100_000_000
const FIRST_READ = 1 << 20

/** A header does not say how long it is: more is read until it is whole. */
async function readHeader(handle: FileHandle, path: string): Promise<GgufHeader> {
  const { size } = await handle.stat()
  const most = Math.min(size, MAX_HEADER_BYTES)
  for (let length = Math.min(FIRST_READ, most); ; length = Math.min(4 * length, most)) {
    const prefix = new Uint8Array(length)
    await readInto(handle, prefix, 0, path)
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

/**
 * Opens a GGUF file (version 2 or 3, little endian); its header is checked against its size first.
 *
 * @throws InputError naming the file (and the key or tensor) for anything missing, damaged or unknown
 */
export async function openGguf(path: string): Promise<GgufReader> {
  const handle = await openToRead(path)
  let header: GgufHeader
  try {
    header = await readHeader(handle, path)
  } catch (error) {
    await handle.close()
    throw readError(error, path)
  }
  const entry = (name: string): GgufTensorEntry => {
    const found = header.tensors.get(name)
    if (found === undefined) throw new InputError(`${path}: no tensor "${name}"`)
    return found
  }
  const read = async (name: string): Promise<Uint8Array> => {
    const { begin, end } = entry(name)
    const bytes = new Uint8Array(end - begin)
    await readInto(handle, bytes, begin, path)
    return bytes
  }
  return {
    ...header,
    read,
    readFloat32: async (name) => GGUF_ENCODINGS[entry(name).type].decode(await read(name)),
    close: () => handle.close(),
  }
}
