import type { FileHandle } from "node:fs/promises"
import { assert } from "../errors.ts"
import { replaceFile } from "./atomic.ts"
import { writeAll } from "./file-bytes.ts"
import { type GgufMetadata, type GgufValue, kindCode, NUMBER_LAYOUTS } from "./gguf-metadata.ts"
import {
  GGUF_ALIGNMENT,
  GGUF_ENCODINGS,
  GGUF_MAGIC,
  GGUF_MAX_NAME,
  GGUF_TYPE_CODES,
  GGUF_VERSION,
  ggufBytes,
  padding,
  type WrittenGgufType,
} from "./gguf-types.ts"

/** A tensor to write. `values` is asked for once, in file order. */
export interface GgufTensor {
  readonly name: string
  readonly type: WrittenGgufType
  /** Row major, as everywhere here; a file lists it the other way round. */
  readonly shape: readonly number[]
  readonly values: () => Promise<Float32Array>
}

/** Bytes gathered from the front. */
class Bytes {
  #buffer = new Uint8Array(1 << 16)
  #view = new DataView(this.#buffer.buffer)
  #length = 0

  #room(bytes: number): number {
    const at = this.#length
    this.#length += bytes
    if (this.#length > this.#buffer.length) {
      const larger = new Uint8Array(Math.max(this.#length, 2 * this.#buffer.length))
      larger.set(this.#buffer)
      this.#buffer = larger
      this.#view = new DataView(larger.buffer)
    }
    return at
  }
  number(kind: keyof typeof NUMBER_LAYOUTS, value: number | bigint | boolean): void {
    const { bytes, write } = NUMBER_LAYOUTS[kind]
    const at = this.#room(bytes)
    write(this.#view, at, value)
  }
  string(text: string): void {
    const bytes = new TextEncoder().encode(text)
    this.number("uint64", bytes.length)
    const at = this.#room(bytes.length)
    this.#buffer.set(bytes, at)
  }
  padTo(alignment: number): void {
    this.#room(padding(this.#length, alignment))
  }
  taken(): Uint8Array {
    return this.#buffer.subarray(0, this.#length)
  }
}

function writeElement(out: Bytes, kind: GgufValue["kind"], value: GgufValue["value"]): void {
  if (kind === "string") {
    assert(typeof value === "string", `a metadata string: got ${typeof value}`)
    out.string(value)
  } else {
    assert(kind !== "array" && typeof value !== "string", `a metadata ${kind}: got ${typeof value}`)
    out.number(kind, value as number | bigint | boolean)
  }
}

function writeValue(out: Bytes, value: GgufValue): void {
  out.number("uint32", kindCode(value.kind))
  if (value.kind === "array") {
    out.number("uint32", kindCode(value.of))
    out.number("uint64", value.value.length)
    for (const element of value.value) writeElement(out, value.of, element)
  } else {
    writeElement(out, value.kind, value.value)
  }
}

function headerBytes(metadata: GgufMetadata, tensors: readonly GgufTensor[]): Uint8Array {
  assert(!metadata.has("general.alignment"), "this writer aligns to the default")
  const out = new Bytes()
  out.number("uint32", GGUF_MAGIC)
  out.number("uint32", GGUF_VERSION)
  out.number("uint64", tensors.length)
  out.number("uint64", metadata.size)
  for (const [key, value] of metadata) {
    out.string(key)
    writeValue(out, value)
  }
  let offset = 0
  const names = new Set<string>()
  for (const { name, type, shape } of tensors) {
    const bytes = ggufBytes(type, shape)
    assert(Number.isSafeInteger(bytes), `tensor "${name}": ${type} [${shape}] is not whole blocks`)
    assert(Buffer.byteLength(name) <= GGUF_MAX_NAME, `tensor "${name}": the name is too long`)
    assert(!names.has(name), `tensor "${name}" twice in one file`)
    names.add(name)
    out.string(name)
    out.number("uint32", shape.length)
    for (const size of shape.toReversed()) out.number("uint64", size)
    out.number("uint32", GGUF_TYPE_CODES[type])
    out.number("uint64", offset)
    offset += bytes + padding(bytes, GGUF_ALIGNMENT)
  }
  out.padTo(GGUF_ALIGNMENT)
  return out.taken()
}

/** Values encoded at a time: the whole of a large tensor is held once, never twice. */
const PIECE_VALUES = 1 << 20

async function writeTensor(handle: FileHandle, tensor: GgufTensor): Promise<void> {
  const { name, type, shape } = tensor
  const values = await tensor.values()
  const count = shape.reduce((product, size) => product * size, 1)
  assert(
    values.length === count,
    `tensor "${name}": [${shape}] needs ${count}, got ${values.length}`,
  )
  const { encode } = GGUF_ENCODINGS[type]
  for (let from = 0; from < count; from += PIECE_VALUES) {
    await writeAll(handle, encode(values.subarray(from, from + PIECE_VALUES)))
  }
  await writeAll(handle, new Uint8Array(padding(ggufBytes(type, shape), GGUF_ALIGNMENT)))
}

/**
 * Writes a GGUF file (version 3, little endian) atomically, a tensor at a time.
 *
 * @throws InputError when the disk is full or the place cannot be written
 */
export async function writeGguf(
  path: string,
  {
    metadata,
    tensors,
  }: { readonly metadata: GgufMetadata; readonly tensors: readonly GgufTensor[] },
  { onTensor }: { readonly onTensor?: (written: number, ofAll: number) => void } = {},
): Promise<void> {
  const header = headerBytes(metadata, tensors)
  await replaceFile(path, async (handle) => {
    await writeAll(handle, header)
    for (const [i, tensor] of tensors.entries()) {
      await writeTensor(handle, tensor)
      onTensor?.(i + 1, tensors.length)
    }
  })
}
