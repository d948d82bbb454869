/** The lines of an events.jsonl that another process writes, each with an id to go on from. */
import { createHash } from "node:crypto"
import { closeSync, fstatSync, readSync } from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"
import { isObject, type JsonObject, refuseDeep } from "../formats/json.ts"
import { openPlainFile } from "../formats/plain-file.ts"
import type { RunEvent } from "../run/events.ts"
import { parseEvent } from "../run/run-folder.ts"

export interface RunLine {
  /** Where the line lies, and what it is: one of another file at this place has another id. */
  readonly id: string
  readonly event: RunEvent
}

interface Piece {
  readonly lines: readonly RunLine[]
  /** Whether more lay there than was read. */
  readonly more: boolean
}

/** Read at once, between two looks at other requests; a longer line is read whole. */
const PIECE_BYTES = 2 ** 20
/** Of a line that an id may name: an id is anybody's text. */
const MOST_LINE_BYTES = 2 ** 26
const POLL_MS = 200

function bytesAt(path: string, from: number, length: number): { bytes: Buffer; size: number } {
  const file = openPlainFile(path)
  try {
    const bytes = Buffer.alloc(length)
    return {
      bytes: bytes.subarray(0, readSync(file, bytes, 0, length, from)),
      size: fstatSync(file).size,
    }
  } finally {
    closeSync(file)
  }
}

export const sizeOf = (path: string): number => bytesAt(path, 0, 0).size

const hashOf = (line: Buffer) => createHash("sha256").update(line).digest("hex").slice(0, 16)

/** Of the line that lies there. */
export const lineId = (line: Buffer, from: number): string =>
  `${from}-${from + line.length}-${hashOf(line)}`

/** Whole lines from a byte on; a last line without its newline is still being written. */
export function linesFrom(path: string, from: number, length = PIECE_BYTES): Piece {
  const { bytes, more } = wholeLines(path, from, length)
  const lines: RunLine[] = []
  for (let start = 0; start < bytes.length; ) {
    const line = bytes.subarray(start, bytes.indexOf(0x0a, start) + 1)
    const event = parseEvent(line.toString())
    if (event) lines.push({ id: lineId(line, from + start), event })
    start += line.length
  }
  return { lines, more }
}

/** As `linesFrom`, as they stand; `more`: whether more lay there than was read. */
export function wholeLines(
  path: string,
  from: number,
  length = PIECE_BYTES,
): { readonly bytes: Buffer; readonly more: boolean } {
  const { bytes, size } = bytesAt(path, from, length)
  const whole = bytes.lastIndexOf(0x0a) + 1
  if (whole === 0 && from + bytes.length < size) return wholeLines(path, from, 2 * length)
  return { bytes: bytes.subarray(0, whole), more: from + bytes.length < size }
}

/** The JSON objects of a file's last whole lines, at most this many bytes of them. */
export function lastObjects(path: string, length: number): JsonObject[] {
  const from = Math.max(0, sizeOf(path) - length)
  const lines = bytesAt(path, from, length).bytes.toString("utf8").split("\n").slice(0, -1)
  return lines.flatMap((line) => {
    try {
      refuseDeep(line, "a line")
      const value: unknown = JSON.parse(line)
      return isObject(value) ? [value] : []
    } catch {
      return [] // the first one may be cut
    }
  })
}

/** The byte after the line of this id; undefined where that line is not there any more. */
export function placeAfter(path: string, id: string): number | undefined {
  const [, from, to, hash] = /^(\d{1,15})-(\d{1,15})-([0-9a-f]{16})$/.exec(id) ?? []
  const [start, end] = [Number(from), Number(to)]
  if (hash === undefined || end <= start || end - start > MOST_LINE_BYTES) return undefined
  const { size } = bytesAt(path, 0, 0)
  if (end > size) return undefined
  return hashOf(bytesAt(path, start, end - start).bytes) === hash ? end : undefined
}

const RESET = (): RunEvent => ({ type: "reset", time: new Date().toISOString(), step: 0 })

/**
 * Every event after the one of `after` once, then each as it is written. A run that is resumed
 * puts another file in the place of this one: where the last line told is not in it, a `reset`
 * comes and all its events. `undefined` now and then: nothing new, for a sign of life.
 */
export async function* followLines(
  path: string,
  { after, signal }: { readonly after?: string | undefined; readonly signal: AbortSignal },
): AsyncGenerator<{ readonly id?: string; readonly event: RunEvent } | undefined> {
  let last = after
  let quiet = 0
  while (!signal.aborted) {
    const place = last === undefined ? 0 : placeAfter(path, last)
    if (place === undefined) {
      last = undefined
      yield { event: RESET() }
      continue
    }
    const { lines } = linesFrom(path, place)
    for (const line of lines) {
      if (signal.aborted) return
      last = line.id
      yield line
    }
    if (lines.length > 0) {
      quiet = 0
      continue
    }
    await sleep(POLL_MS)
    if (++quiet % 50 === 0) yield undefined
  }
}
