/** Frames of Zstandard (RFC 8878, section 3.1), looked at before they are unpacked. */

/** What every decoder takes without being asked to (`zstd --long=27`). */
const MAX_WINDOW = 2 ** 27
const MAGIC = 0xfd2fb528

interface FrameHeader {
  readonly bytes: number
  /** Made room for at once. */
  readonly window: number
  readonly hasChecksum: boolean
}

/** undefined: more bytes are needed. */
function frameHeader(view: DataView): FrameHeader | undefined {
  if (view.byteLength < 6) return undefined
  const flags = view.getUint8(4)
  const [single, checksum] = [(flags >> 5) & 1, (flags >> 2) & 1]
  const dictionaryBytes = [0, 1, 2, 4][flags & 3]!
  const sizeBytes = [single, 2, 4, 8][flags >> 6]!
  const at = 6 - single + dictionaryBytes
  const bytes = at + sizeBytes
  if (view.byteLength < bytes) return undefined
  const size = [
    () => 0,
    () => view.getUint8(at),
    () => view.getUint16(at, true) + 256,
    () => view.getUint32(at, true),
    () => Number(view.getBigUint64(at, true)),
  ][[0, 1, 2, 4, 8].indexOf(sizeBytes)]!()
  const descriptor = view.getUint8(5)
  const base = 2 ** (10 + (descriptor >> 3))
  const window = single ? size : base + (base / 8) * (descriptor & 7)
  return { bytes, window, hasChecksum: checksum === 1 }
}

/**
 * Follows frames as their bytes come: their decoder makes room for a frame's whole window at once,
 * whatever the frame holds.
 *
 * @throws RangeError for a window that no packer takes by itself. What else is wrong is the
 * decoder's.
 */
export function frameWatch(): (bytes: Uint8Array) => void {
  /** Bytes of a block that need no look. */
  let skip = 0
  let held = new Uint8Array(0)
  let place: "frame" | "block" | "lost" = "frame"
  let hasChecksum = false
  /** How many bytes were understood; 0: more are needed. */
  const step = (view: DataView): number => {
    if (view.byteLength < 3) return 0
    if (place === "block") {
      const header = view.getUint16(0, true) | (view.getUint8(2) << 16)
      const [last, kind, size] = [header & 1, (header >> 1) & 3, header >> 3]
      skip = kind === 1 ? 1 : size
      if (last) {
        skip += hasChecksum ? 4 : 0
        place = "frame"
      }
      return 3
    }
    if (view.byteLength < 8) return 0
    const magic = view.getUint32(0, true)
    if (magic >>> 4 === 0x184d2a5) {
      skip = view.getUint32(4, true)
      return 8
    }
    if (magic !== MAGIC) {
      place = "lost"
      return 0
    }
    const header = frameHeader(view)
    if (header === undefined) return 0
    if (header.window > MAX_WINDOW) {
      const [window, most] = [header.window, MAX_WINDOW].map((n) => Math.round(n / 2 ** 20))
      throw new RangeError(
        `its window is ${window} MB, and at most ${most} MB is read; pack it without --long or --ultra`,
      )
    }
    hasChecksum = header.hasChecksum
    place = "block"
    return header.bytes
  }
  return (bytes) => {
    let rest = bytes
    while (rest.length > 0 && place !== "lost") {
      const passed = Math.min(skip, rest.length)
      skip -= passed
      rest = rest.subarray(passed)
      if (rest.length === 0) return
      // a header is 18 bytes at most
      const taken = rest.subarray(0, 18)
      const joined = new Uint8Array(held.length + taken.length)
      joined.set(held)
      joined.set(taken, held.length)
      const understood = step(new DataView(joined.buffer))
      if (understood === 0) {
        held = joined
        rest = rest.subarray(taken.length)
        if (held.length >= 18) place = "lost"
      } else {
        rest = rest.subarray(understood - held.length)
        held = new Uint8Array(0)
      }
    }
  }
}
