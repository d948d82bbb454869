/** Pages of a parquet row group, unpacked once: to be looked at, and then to be decoded. */
import type { AsyncBuffer, CompressionCodec, Compressors } from "hyparquet"
import { compressors } from "hyparquet-compressors"

/** What is held of a row group; later pages are unpacked again. */
const KEPT_BYTES = 64 * 2 ** 20

export interface UnpackedOnce {
  /** The same file, whose pieces are known by where they stand in it. */
  readonly file: AsyncBuffer
  readonly compressors: Compressors
  /** Lets go of the pages. */
  forget(): void
}

/** For a reader that is given pages of `file` to unpack, by whatever slices it has of them. */
export function unpackedOnce(file: AsyncBuffer): UnpackedOnce {
  const starts = new WeakMap<ArrayBufferLike, number>()
  const pages = new Map<number, Uint8Array>()
  let room = KEPT_BYTES

  const known = (buffer: ArrayBuffer, start: number): ArrayBuffer => {
    starts.set(buffer, start)
    // the decoder cuts columns out of what it has read of several at once
    const slice = (from = 0, to = buffer.byteLength) =>
      known(ArrayBuffer.prototype.slice.call(buffer, from, to), start + from)
    return Object.defineProperty(buffer, "slice", { value: slice })
  }

  const once =
    (unpack: NonNullable<Compressors[CompressionCodec]>): typeof unpack =>
    (packed, length) => {
      const start = starts.get(packed.buffer)
      if (start === undefined) return unpack(packed, length)
      const place = start + packed.byteOffset
      const held = pages.get(place)
      if (held?.length === length) return held
      const page = unpack(packed, length)
      if (page.length <= room && !pages.has(place)) {
        room -= page.length
        pages.set(place, page)
      }
      return page
    }

  return {
    file: {
      byteLength: file.byteLength,
      slice: async (start, end) => known(await file.slice(start, end), start),
    },
    compressors: Object.fromEntries(
      Object.entries(compressors).map(([codec, unpack]) => [codec, once(unpack)]),
    ),
    forget() {
      pages.clear()
      room = KEPT_BYTES
    },
  }
}
