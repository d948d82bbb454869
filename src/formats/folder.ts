import { InputError } from "../errors.ts"
import {
  checkBytes,
  expectObject,
  type JsonObject,
  MAX_TEXT_BYTES,
  parseJson,
  utf8,
} from "./json.ts"

/** Bytes that are read by ranges: a file on a disk, or one that a browser holds. */
export interface ByteSource {
  /** Its path, for messages. */
  readonly path: string
  readonly bytes: number
  /**
   * Fills `target` from a place in the file.
   *
   * @throws InputError naming the file when it ends before
   */
  readInto(target: Uint8Array, position: number): Promise<void>
  /** Makes an array's memory ready while it is filled from the front: only a matter of speed. */
  prefault?(target: ArrayBufferView): Promise<void>
  close(): Promise<void>
}

/** A folder's files by name: on a disk, or files given to a browser. */
export interface Folder {
  readonly path: string
  /** The path of a file in it, there or not, for messages. */
  pathOf(name: string): string
  /** Names of its files; none when there is no such folder. */
  names(): Promise<readonly string[]>
  /** undefined when there is no file of this name. */
  open(name: string): Promise<ByteSource | undefined>
}

/**
 * The text of a file; undefined when it is not there.
 *
 * @throws InputError naming the file when it is too large or not UTF-8
 */
export async function textIn(
  folder: Folder,
  name: string,
  maxBytes = MAX_TEXT_BYTES,
): Promise<string | undefined> {
  const source = await folder.open(name)
  if (!source) return undefined
  try {
    checkBytes(source.bytes, maxBytes, source.path)
    const bytes = new Uint8Array(source.bytes)
    await source.readInto(bytes, 0)
    return utf8(bytes, source.path)
  } finally {
    await source.close()
  }
}

/**
 * A JSON object that is a file; undefined when it is not there.
 *
 * @throws InputError naming the file
 */
export async function objectIn(
  folder: Folder,
  name: string,
  maxBytes = MAX_TEXT_BYTES,
): Promise<JsonObject | undefined> {
  const text = await textIn(folder, name, maxBytes)
  const path = folder.pathOf(name)
  return text === undefined ? undefined : expectObject(parseJson(text, path), path)
}

/** @throws InputError naming the file when it is not there, or not a JSON object */
export async function requiredObjectIn(
  folder: Folder,
  name: string,
  maxBytes = MAX_TEXT_BYTES,
): Promise<JsonObject> {
  const object = await objectIn(folder, name, maxBytes)
  if (!object) throw new InputError(`${folder.pathOf(name)}: no such file`)
  return object
}

/** Files that are in memory whole, by name. */
export function memoryFolder(path: string, files: ReadonlyMap<string, Uint8Array>): Folder {
  const pathOf = (name: string) => `${path}/${name}`
  return {
    path,
    pathOf,
    names: async () => [...files.keys()],
    async open(name) {
      const bytes = files.get(name)
      return bytes && bytesSource(pathOf(name), bytes)
    },
  }
}

/** Bytes in memory as a file. */
export function bytesSource(path: string, all: Uint8Array): ByteSource {
  return {
    path,
    bytes: all.length,
    async readInto(target, position) {
      const end = position + target.length
      if (end > all.length) throw new InputError(`${path}: the file ended while it was read`)
      target.set(all.subarray(position, end))
    },
    close: async () => {},
  }
}
