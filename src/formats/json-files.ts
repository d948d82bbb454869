import { type FileHandle, open, stat } from "node:fs/promises"
import { InputError } from "../errors.ts"
import {
  checkBytes,
  expectObject,
  type JsonObject,
  MAX_TEXT_BYTES,
  parseJson,
  utf8,
} from "./json.ts"

/** What the file system says about a file that cannot be read, in words. */
export function readError(error: unknown, path: string): unknown {
  const code = (error as NodeJS.ErrnoException | null)?.code
  if (code === "ENOENT") return new InputError(`${path}: no such file`)
  if (code === "EISDIR") return new InputError(`${path}: expected a file, got a folder`)
  if (code === "EACCES" || code === "EPERM") return new InputError(`${path}: no permission to read`)
  if (code === "ENOTDIR") return new InputError(`${path}: a part of the path is a file`)
  if (code === "ENAMETOOLONG") return new InputError(`${path}: the name is too long`)
  if (code === "ERR_INVALID_ARG_VALUE") return new InputError(`${JSON.stringify(path)}: is no path`)
  if (code === "ELOOP") return new InputError(`${path}: its links lead in a circle`)
  return error
}

/**
 * Opens a file to read.
 *
 * @throws InputError when it is missing or unreadable, and for a device or pipe, which would be
 * waited for or read without end
 */
export async function openToRead(path: string): Promise<FileHandle> {
  try {
    const there = await stat(path)
    if (there.isFile() || there.isDirectory()) return await open(path, "r")
  } catch (error) {
    throw readError(error, path)
  }
  throw new InputError(`${path}: expected a file, got a device or pipe`)
}

/**
 * The whole file as bytes, its size checked before anything is allocated.
 *
 * @param maxBytes larger files are refused.
 * @throws InputError naming the file when it is missing, unreadable or too large.
 */
export async function readBounded(path: string, maxBytes: number): Promise<Uint8Array> {
  try {
    const handle = await openToRead(path)
    try {
      const { size } = await handle.stat()
      checkBytes(size, maxBytes, path)
      return await handle.readFile()
    } finally {
      await handle.close()
    }
  } catch (error) {
    throw readError(error, path)
  }
}

/**
 * Text of at most `maxBytes` bytes; a byte order mark is dropped, bytes that are not UTF-8 are an
 * InputError.
 */
export async function readTextFile(path: string, maxBytes = MAX_TEXT_BYTES): Promise<string> {
  return utf8(await readBounded(path, maxBytes), path)
}

/** @throws InputError naming the file when it is missing, too large, or not JSON. */
export async function readJsonFile(path: string, maxBytes = MAX_TEXT_BYTES): Promise<unknown> {
  return parseJson(await readTextFile(path, maxBytes), path)
}

/** @throws InputError when the file does not hold one JSON object. */
export async function readJsonObject(path: string, maxBytes = MAX_TEXT_BYTES): Promise<JsonObject> {
  return expectObject(await readJsonFile(path, maxBytes), path)
}
