import { closeSync, constants, fstatSync, openSync, readSync } from "node:fs"
import { InputError } from "../errors.ts"
import { checkBytes, MAX_TEXT_BYTES, refuseDeep } from "./json.ts"
import { readError } from "./json-files.ts"

/**
 * Opens a file to read, at once: a pipe is not waited for. Any folder may be a stranger's, and any
 * name in it a pipe, a device, or a link to one.
 *
 * @throws InputError when it is missing or unreadable, and for what is no plain file
 */
export function openPlainFile(path: string): number {
  let file: number
  try {
    // without it, opening a pipe waits until somebody writes into it; Windows has no such pipes
    file = openSync(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0))
  } catch (error) {
    throw readError(error, path)
  }
  const there = fstatSync(file)
  if (there.isFile()) return file
  closeSync(file)
  const got = there.isDirectory() ? "a folder" : "a device or pipe"
  throw new InputError(`${path}: expected a file, got ${got}`)
}

/**
 * The first bytes of a file, as many as there are. @throws InputError as {@link openPlainFile} does
 */
export function plainHead(path: string, bytes: number): Buffer {
  const file = openPlainFile(path)
  try {
    return headOf(file, Math.min(bytes, fstatSync(file).size))
  } finally {
    closeSync(file)
  }
}

/**
 * A whole file, its size checked before anything is allocated.
 *
 * @throws InputError as {@link openPlainFile} does, and for a larger one
 */
export function plainBytes(path: string, maxBytes = MAX_TEXT_BYTES): Buffer {
  const file = openPlainFile(path)
  try {
    const { size } = fstatSync(file)
    checkBytes(size, maxBytes, path)
    return headOf(file, size)
  } finally {
    closeSync(file)
  }
}

/** The same as text; a byte that is not UTF-8 becomes U+FFFD. */
export const plainText = (path: string, maxBytes = MAX_TEXT_BYTES): string =>
  plainBytes(path, maxBytes).toString("utf8")

/**
 * The JSON of a file that may be gone, half written, too deep or another program's; undefined then.
 */
export function jsonOfFile(path: string): unknown {
  try {
    const text = plainText(path)
    refuseDeep(text, path)
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** One call, below the 2 GB that a single call can move. */
const MAX_CALL = 1 << 30

/** Fewer where the file has become shorter meanwhile. */
function headOf(file: number, length: number): Buffer {
  const bytes = Buffer.allocUnsafe(length)
  let done = 0
  while (done < length) {
    const read = readSync(file, bytes, done, Math.min(MAX_CALL, length - done), done)
    if (read === 0) break
    done += read
  }
  return bytes.subarray(0, done)
}
