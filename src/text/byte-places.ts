const utf8Length = (code: number): number =>
  code < 0x80 ? 1 : code < 0x800 ? 2 : code > 0xffff ? 4 : 3

/**
 * Lays byte-level pieces (one UTF-16 unit for each byte) end to end over the text they came from,
 * where nothing was rewritten between the two.
 *
 * @param from where the text begins in the whole, in UTF-16 units.
 * @returns for each piece the range of the characters that its bytes belong to; null when the
 *   bytes do not add up.
 */
export function placeBytePieces(
  pieces: readonly string[],
  text: string,
  from: number,
): [number, number][] | null {
  const offsets: [number, number][] = []
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
    offsets.push([from + start, from + end])
  }
  return at === text.length ? offsets : null
}
