import { open } from "node:fs/promises"
import { InputError } from "../errors.ts"

export type JsonObject = { readonly [key: string]: unknown }

const MEGABYTE = 1e6

/** A plain object, not null and not an array. */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value)
}

/** How a JSON value is named in a message: its type, or the value itself when it is short. */
export function describeValue(value: unknown): string {
  if (value === undefined) return "nothing"
  if (value === null) return "null"
  if (Array.isArray(value)) return `a list of ${value.length}`
  if (typeof value === "object") return "an object"
  const text = JSON.stringify(value)
  return text.length <= 60 ? text : `${text.slice(0, 57)}...`
}

/** What the file system says about a file that cannot be read, in words. */
export function readError(error: unknown, path: string): unknown {
  const code = (error as NodeJS.ErrnoException | null)?.code
  if (code === "ENOENT") return new InputError(`${path}: no such file`)
  if (code === "EISDIR") return new InputError(`${path}: expected a file, got a folder`)
  if (code === "EACCES" || code === "EPERM") return new InputError(`${path}: no permission to read`)
  if (code === "ENOTDIR") return new InputError(`${path}: a part of the path is a file`)
  return error
}

/**
 * The whole file as bytes, its size checked before anything is allocated.
 *
 * @param maxBytes larger files are refused.
 * @throws InputError naming the file when it is missing, unreadable or too large.
 */
export async function readBounded(path: string, maxBytes: number): Promise<Uint8Array> {
  try {
    const handle = await open(path, "r")
    try {
      const { size } = await handle.stat()
      if (size > maxBytes) {
        throw new InputError(
          `${path}: expected at most ${maxBytes / MEGABYTE} MB, got ${Math.ceil(size / MEGABYTE)} MB`,
        )
      }
      return await handle.readFile()
    } finally {
      await handle.close()
    }
  } catch (error) {
    throw readError(error, path)
  }
}

/** Text of at most `maxBytes` bytes; a byte order mark is dropped, bytes that are not UTF-8 are an InputError. */
export async function readTextFile(path: string, maxBytes = 64 * MEGABYTE): Promise<string> {
  const bytes = await readBounded(path, maxBytes)
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes)
  } catch {
    throw new InputError(`${path}: expected UTF-8 text, got bytes that are not UTF-8`)
  }
}

/** @throws InputError with line and column of what is not JSON. */
export function parseJson(text: string, where: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new InputError(`${where}: expected JSON, got ${jsonProblem(error as Error, text)}`)
  }
}

function jsonProblem(error: Error, text: string): string {
  const at = /at position (\d+)/.exec(error.message)
  const position = at
    ? Number(at[1])
    : /Unexpected end/.test(error.message)
      ? text.length
      : undefined
  if (position === undefined) return error.message
  if (text.length === 0) return "an empty text"
  const before = text.slice(0, position).split("\n")
  const place = `line ${before.length}, column ${before.at(-1)!.length + 1}`
  return position >= text.length ? `the end of the text at ${place}` : `something else at ${place}`
}

/** @throws InputError naming the file when it is missing, too large, or not JSON. */
export async function readJsonFile(path: string, maxBytes = 64 * MEGABYTE): Promise<unknown> {
  return parseJson(await readTextFile(path, maxBytes), path)
}

/** @throws InputError when the file does not hold one JSON object. */
export async function readJsonObject(path: string, maxBytes = 64 * MEGABYTE): Promise<JsonObject> {
  const value = await readJsonFile(path, maxBytes)
  if (isObject(value)) return value
  throw new InputError(`${path}: expected a JSON object, got ${describeValue(value)}`)
}
