/** GPT-2's printable stand-ins for bytes, and back (openai/gpt-2, encoder.py, bytes_to_unicode). */
const BYTE_OF_STAND_IN: ReadonlyMap<number, number> = (() => {
  const map = new Map<number, number>()
  let extra = 256
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte !== 0xad)
    map.set(printable ? byte : extra++, byte)
  }
  return map
})()

const ENCODER = new TextEncoder()

/**
 * How a vocabulary writes text: bytes as stand-ins, or text with `▁` for a space and `<0x0A>`
 * bytes.
 */
export type PieceKind = "byte-level" | "sentencepiece"

/** The byte that a byte-fallback piece (`<0x0A>`) stands for; null for other pieces. */
export function fallbackByte(piece: string): number | null {
  const match = /^<0x([0-9A-Fa-f]{2})>$/.exec(piece)
  return match === null ? null : Number.parseInt(match[1]!, 16)
}

/** The bytes of a byte-level piece; of its own text when a character in it is no stand-in. */
export function byteLevelBytes(piece: string): Uint8Array {
  const bytes = new Uint8Array(piece.length)
  for (let i = 0; i < piece.length; i++) {
    const byte = BYTE_OF_STAND_IN.get(piece.charCodeAt(i))
    if (byte === undefined) return ENCODER.encode(piece)
    bytes[i] = byte
  }
  return bytes
}

/** The UTF-8 bytes that a piece adds to the decoded text. */
export function pieceBytes(piece: string, kind: PieceKind): Uint8Array {
  if (kind === "byte-level") return byteLevelBytes(piece)
  const byte = fallbackByte(piece)
  return byte === null ? ENCODER.encode(piece.replaceAll("▁", " ")) : Uint8Array.of(byte)
}
