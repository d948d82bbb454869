import { InputError } from "../errors.ts"
import { MAX_LINE_BYTES } from "./text-lines.ts"

/** An element of a list: its bytes, not yet parsed, or what is wrong with it. */
export interface JsonElement {
  /** The line that it begins on, from 1. */
  readonly line: number
  readonly bytes: Uint8Array | null
}

const [QUOTE, BACKSLASH, NEWLINE, COMMA] = [0x22, 0x5c, 0x0a, 0x2c]
const [OPEN_LIST, CLOSE_LIST, OPEN_MAP, CLOSE_MAP] = [0x5b, 0x5d, 0x7b, 0x7d]
const isSpace = (byte: number) =>
  byte === 0x20 || byte === NEWLINE || byte === 0x0d || byte === 0x09

/**
 * Cuts a JSON list into its elements as its bytes come, so that no file need be held whole. What is
 * inside an element is looked at only as far as its end asks for; `bytes` is null for one that is
 * longer than a row may be.
 */
export function elementSplitter(path: string): {
  /** Elements that end in these bytes. */
  push(bytes: Uint8Array): JsonElement[]
  /** @throws InputError when the list has not ended */
  finish(): void
} {
  let place: "start" | "first" | "element" | "rest" | "next" | "after" = "start"
  let line = 1
  let startLine = 1
  let depth = 0
  let inString = false
  let escaped = false
  let held: Uint8Array[] = []
  let heldBytes = 0

  const wrong = (expected: string) =>
    new InputError(`${path}:${line}: not valid JSON: expected ${expected}`)

  const hold = (bytes: Uint8Array): void => {
    heldBytes += bytes.length
    if (heldBytes <= MAX_LINE_BYTES) held.push(bytes)
    else held = []
  }
  const ended = (): JsonElement => {
    const bytes = heldBytes > MAX_LINE_BYTES ? null : Buffer.concat(held)
    held = []
    heldBytes = 0
    return { line: startLine, bytes }
  }
  /** Whether the element goes on behind this byte of it. */
  const goesOn = (byte: number): boolean => {
    if (inString) {
      if (escaped) escaped = false
      else if (byte === BACKSLASH) escaped = true
      else if (byte === QUOTE) inString = false
      return true
    }
    const closes = byte === CLOSE_LIST || byte === CLOSE_MAP
    if (depth === 0 && (byte === COMMA || closes)) return false
    if (byte === QUOTE) inString = true
    else if (byte === OPEN_LIST || byte === OPEN_MAP) depth++
    else if (closes) depth--
    return true
  }
  /** Between elements: what a byte that is no space leads to. */
  const placeAfter = (byte: number): typeof place => {
    if (place === "start") {
      if (byte === OPEN_LIST) return "first"
      throw wrong("a list")
    }
    if (place === "after") throw wrong("nothing after the list")
    if (byte === CLOSE_LIST && place !== "next") return "after"
    if (place === "rest") {
      if (byte === COMMA) return "next"
      throw wrong("a comma or the end of the list")
    }
    if (byte === COMMA || byte === CLOSE_LIST || byte === CLOSE_MAP) throw wrong("a row")
    return "element"
  }

  return {
    push(bytes) {
      const found: JsonElement[] = []
      let from = 0
      for (let at = 0; at < bytes.length; at++) {
        const byte = bytes[at]!
        if (byte === NEWLINE) line++
        if (place === "element") {
          if (goesOn(byte)) continue
          hold(bytes.subarray(from, at))
          found.push(ended())
          place = "rest"
        }
        if (isSpace(byte)) continue
        place = placeAfter(byte)
        if (place !== "element") continue
        from = at
        startLine = line
        goesOn(byte)
      }
      // the bytes' memory is the reader's to use again
      if (place === "element") hold(bytes.slice(from))
      return found
    },
    finish() {
      if (place !== "after") throw wrong("the list to end")
    },
  }
}
