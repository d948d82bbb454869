import type { Places } from "./words.ts"

const utf8Length = (code: number): number =>
  code < 0x80 ? 1 : code < 0x800 ? 2 : code > 0xffff ? 4 : 3

/**
 * Lays byte-level pieces (one UTF-16 unit for each byte) end to end over the text they came from.
 *
 * @returns for each piece the range of the characters that its bytes belong to; null when the
 *   bytes do not add up.
 */
export function placeBytePieces(pieces: readonly string[], text: string): Places | null {
  const places: Places = { starts: [], ends: [] }
  let at = 0
  let code = text.codePointAt(0) ?? 0
  let left = utf8Length(code)
  for (const piece of pieces) {
    const start = at
    let end = at
    for (let bytes = piece.length; bytes > 0; ) {
      if (at >= text.length) return null
      const units = code > 0xffff ? 2 : 1
      end = at + units
      const taken = Math.min(bytes, left)
      bytes -= taken
      left -= taken
      if (left > 0) continue
      at = end
      code = text.codePointAt(at) ?? 0
      left = utf8Length(code)
    }
    places.starts.push(start)
    places.ends.push(end)
  }
  return at === text.length ? places : null
}
