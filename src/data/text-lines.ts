import { createReadStream } from "node:fs"
import { open } from "node:fs/promises"
import { createGunzip } from "node:zlib"
import { Decompress } from "fzstd"
import { InputError } from "../errors.ts"
import { refuseUtf16 } from "../formats/json.ts"
import { readError } from "../formats/json-files.ts"
import { frameWatch } from "./zstd-frames.ts"

/** A line longer than this is no row: it is named, and reading goes on behind it. */
export const MAX_LINE_BYTES = 16 * 2 ** 20

export const TOO_LONG = `expected a row of at most ${MAX_LINE_BYTES / 2 ** 20} MB, got a longer one`

/** A line of a file: its bytes without the newline, or what is wrong with it. */
export interface FileLine {
  /** From 1. */
  readonly line: number
  readonly bytes: Uint8Array | null
  readonly problem: string | null
}

/** Lines in the order of the file, and the share of the file that has been read. */
export interface LineChunk {
  readonly lines: readonly FileLine[]
  readonly fraction: number
}

/** The bytes of a file, unpacked when its name ends in .gz or .zst, with the share of it read. */
export async function* fileBytes(
  path: string,
  size: number,
): AsyncGenerator<{ readonly bytes: Uint8Array; readonly fraction: number }> {
  const file = createReadStream(path, { highWaterMark: 1 << 20 })
  const fraction = () => (size === 0 ? 1 : Math.min(1, file.bytesRead / size))
  try {
    const packing = await packingOf(path)
    if (packing === "zst") {
      for await (const bytes of unzstd(file)) yield { bytes, fraction: fraction() }
    } else {
      const unpacked = packing === "gz" ? file.pipe(createGunzip()) : file
      file.on("error", (error) => unpacked.destroy(error))
      for await (const bytes of unpacked) yield { bytes: bytes as Buffer, fraction: fraction() }
    }
  } catch (error) {
    throw unpackError(error, path)
  } finally {
    file.destroy()
  }
}

/** How a file is packed: its first bytes say it, whatever its name. An empty file is not packed. */
async function packingOf(path: string): Promise<"gz" | "zst" | "none"> {
  const file = await open(path, "r")
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(4), 0, 4, 0)
    const magic = buffer.subarray(0, bytesRead).toString("hex")
    if (magic.startsWith("1f8b")) return "gz"
    refuseUtf16(buffer.subarray(0, bytesRead), path)
    if (magic === "28b52ffd") return "zst"
    // frames that a reader skips may stand first
    if (/^5[0-9a-f]2a4d18$/.test(magic) && path.toLowerCase().endsWith(".zst")) return "zst"
    const named = /\.(gz|zst)$/i.exec(path)?.[1]
    const isText = bytesRead === 0 || /^[\t\n\r -~]/.test(buffer.toString("latin1"))
    if (named === undefined || isText) return "none"
    throw new InputError(
      `${path}: cannot be unpacked: its name says .${named}, its content is not packed so; rename it`,
    )
  } finally {
    await file.close()
  }
}

/**
 * A block of four bytes can stand for 128 kB, and all that a piece completes comes at once: pieces
 * of this size unpack to 64 MB at most before the next is taken.
 */
const ZSTD_PIECE_BYTES = 2048

async function* pieces(file: AsyncIterable<unknown>): AsyncGenerator<Uint8Array> {
  for await (const part of file) {
    const bytes = part as Uint8Array
    for (let at = 0; at < bytes.length; at += ZSTD_PIECE_BYTES) {
      yield bytes.subarray(at, at + ZSTD_PIECE_BYTES)
    }
  }
}

async function* unzstd(file: AsyncIterable<unknown>): AsyncGenerator<Uint8Array> {
  const ready: Uint8Array[] = []
  const decompress = new Decompress((bytes) => {
    ready.push(bytes.slice()) // its buffer is used again
  })
  let held: Uint8Array | undefined
  const watch = frameWatch()
  for await (const piece of pieces(file)) {
    watch(piece)
    if (held !== undefined) decompress.push(held)
    held = piece
    yield* ready.splice(0)
  }
  decompress.push(held ?? new Uint8Array(0), true)
  yield* ready
}

function unpackError(error: unknown, path: string): unknown {
  if (error instanceof InputError) return error
  const { code, message } = error as NodeJS.ErrnoException
  const damaged =
    typeof code === "number" || String(code).startsWith("Z_") || error instanceof RangeError
  return damaged
    ? new InputError(`${path}: cannot be unpacked: ${message}`)
    : readError(error, path)
}

const NEWLINE = 0x0a

/** Splits a file into lines; blank ones are passed over, but counted. */
export async function* fileLines(path: string, size: number): AsyncGenerator<LineChunk> {
  let line = 0
  let rest: Uint8Array[] = []
  let restBytes = 0
  let tooLong = false

  const finish = (last: Uint8Array): FileLine | undefined => {
    line++
    const long = tooLong || restBytes + last.length > MAX_LINE_BYTES
    const bytes = long ? null : rest.length === 0 ? last : Buffer.concat([...rest, last])
    rest = []
    restBytes = 0
    tooLong = false
    if (bytes === null) {
      return { line, bytes, problem: TOO_LONG }
    }
    const text =
      line === 1 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf
        ? bytes.subarray(3)
        : bytes
    return isBlank(text) ? undefined : { line, bytes: text, problem: null }
  }

  for await (const { bytes, fraction } of fileBytes(path, size)) {
    const lines: FileLine[] = []
    let from = 0
    for (let at = bytes.indexOf(NEWLINE); at !== -1; at = bytes.indexOf(NEWLINE, from)) {
      const found = finish(bytes.subarray(from, at))
      if (found !== undefined) lines.push(found)
      from = at + 1
    }
    if (from < bytes.length) {
      restBytes += bytes.length - from
      if (restBytes > MAX_LINE_BYTES) {
        tooLong = true
        rest = []
      } else {
        rest.push(bytes.slice(from))
      }
    }
    if (lines.length > 0) yield { lines, fraction }
  }
  if (restBytes > 0) {
    const found = finish(new Uint8Array(0))
    if (found !== undefined) yield { lines: [found], fraction: 1 }
  }
}

function isBlank(bytes: Uint8Array): boolean {
  for (const byte of bytes) if (byte !== 0x20 && (byte < 0x09 || byte > 0x0d)) return false
  return true
}
