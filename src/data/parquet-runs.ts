/**
 * What lies inside a parquet page: runs and lengths that the decoder believes, held to the page.
 */
import type { ColumnMetaData, Compressors, PageHeader, SchemaTree } from "hyparquet"
import { decompressPage } from "hyparquet/src/datapage.js"
import { deltaBinaryUnpack } from "hyparquet/src/delta.js"
import { getMaxDefinitionLevel, getMaxRepetitionLevel } from "hyparquet/src/schema.js"
import { readVarInt } from "hyparquet/src/thrift.js"

interface Reader {
  readonly view: DataView
  offset: number
}

export interface PageColumn {
  readonly codec: ColumnMetaData["codec"]
  readonly type: ColumnMetaData["type"]
  /** From the root to the column. */
  readonly schemaPath: readonly SchemaTree[]
  readonly compressors: Compressors
}

/** Writers fill a last bit-packed run up; 63 groups of eight are the most that they have open. */
const PADDING = 504
/** Of the texts of a page that each begin with the one before; a large page may hold more. */
const MAX_TEXT_BYTES = 64 * 2 ** 20
const MOST_SHARED = 8
/** Values of a delta block: writers use 128. */
const MAX_BLOCK = 65_536

const readerOf = (bytes: Uint8Array): Reader => ({
  view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength),
  offset: 0,
})

const bitWidth = (value: number): number => 32 - Math.clz32(value)

/**
 * Goes through runs without writing a value of them. The decoder writes as many as a run says,
 * however many it was to read.
 *
 * @param each told of a run of one value, and of each value of a packed one
 */
function walkRuns(
  reader: Reader,
  { width, count }: { width: number; count: number },
  each?: (value: number, times: number) => void,
): void {
  const bytes = (width + 7) >> 3
  for (let seen = 0; seen < count; ) {
    const header = readVarInt(reader) >>> 0
    const times = header & 1 ? (header >>> 1) * 8 : header >>> 1
    if (times === 0) throw new Error("a run of no values")
    if (times > count - seen + PADDING) throw new Error(`a run of ${times} of ${count} values`)
    if (!(header & 1)) {
      let value = 0
      for (let i = 0; i < bytes; i++) value |= reader.view.getUint8(reader.offset++) << (i << 3)
      each?.(value, Math.min(times, count - seen))
    } else {
      if (each) eachPacked(reader, { width, count: Math.min(times, count - seen) }, each)
      reader.offset += (times / 8) * width
    }
    seen += times
  }
}

function eachPacked(
  { view, offset }: Reader,
  { width, count }: { width: number; count: number },
  each: (value: number, times: number) => void,
): void {
  for (let i = 0; i < count; i++) {
    let value = 0
    for (let bit = 0; bit < width; bit++) {
      const at = i * width + bit
      value |= ((view.getUint8(offset + (at >> 3)) >> (at & 7)) & 1) << bit
    }
    each(value, 1)
  }
}

/** Reads lengths as the decoder does, once its header is known to be one that comes to an end. */
function deltaNumbers(reader: Reader, count: number): Int32Array {
  checkDeltas(reader)
  const numbers = new Int32Array(count)
  deltaBinaryUnpack(reader, count, numbers)
  return numbers
}

function checkDeltas({ view, offset }: Reader): void {
  const ahead = { view, offset }
  const block = readVarInt(ahead)
  const parts = readVarInt(ahead)
  const right = block > 0 && block <= MAX_BLOCK && parts > 0 && block % parts === 0
  if (!right) throw new Error(`a delta block of ${block} values in ${parts} parts`)
}

function checkValues(reader: Reader, count: number, encoding: string, type: string): void {
  switch (encoding) {
    case "PLAIN_DICTIONARY":
    case "RLE_DICTIONARY": {
      if (reader.offset >= reader.view.byteLength && count === 0) break
      const width = reader.view.getUint8(reader.offset++)
      if (width > 32) throw new Error(`places in the dictionary of ${width} bits`)
      if (width > 0) walkRuns(reader, { width, count })
      break
    }
    case "RLE":
      if (type === "BOOLEAN")
        walkRuns({ ...reader, offset: reader.offset + 4 }, { width: 1, count })
      break
    case "DELTA_BINARY_PACKED":
    case "DELTA_LENGTH_BYTE_ARRAY":
      if (count > 0) checkDeltas(reader)
      break
    case "DELTA_BYTE_ARRAY": {
      if (count === 0) break
      // a text may be longer than its page by far: it begins with the one before
      const prefixes = deltaNumbers(reader, count)
      const suffixes = deltaNumbers(reader, count)
      let [bytes, before] = [0, 0]
      for (const [i, prefix] of prefixes.entries()) {
        if (prefix < 0 || prefix > before) throw new Error("a text begins with more than the last")
        before = prefix + suffixes[i]!
        bytes += before
        if (bytes > Math.max(MAX_TEXT_BYTES, MOST_SHARED * reader.view.byteLength)) {
          throw new Error("texts of over 64 MB in a small page")
        }
      }
      break
    }
  }
}

/**
 * Holds the runs of a data page, and the lengths of its texts, to the number of its values.
 *
 * @param packed the page's bytes, behind its header
 * @throws Error saying what does not fit, or RangeError where the page ends too soon
 */
export function checkRuns(packed: Uint8Array, page: PageHeader, column: PageColumn): void {
  const { codec, type, schemaPath, compressors } = column
  const path = [...schemaPath]
  const [repetition, definition] = [getMaxRepetitionLevel(path), getMaxDefinitionLevel(path)]
  const { data_page_header: one, data_page_header_v2: two } = page
  const size = Number(page.uncompressed_page_size)
  if (one) {
    const reader = readerOf(decompressPage(packed, size, codec, compressors))
    const count = one.num_values
    let values = count
    const levels = (most: number, each?: (value: number, times: number) => void) => {
      const end = reader.offset + 4 + reader.view.getUint32(reader.offset, true)
      reader.offset += 4
      walkRuns(reader, { width: bitWidth(most), count }, each)
      reader.offset = end
    }
    if (repetition > 0) levels(repetition)
    if (definition > 0) {
      levels(definition, (value, times) => {
        if (value !== definition) values -= times
      })
    }
    checkValues(reader, values, one.encoding, type)
  } else if (two) {
    const lengths = [two.repetition_levels_byte_length, two.definition_levels_byte_length] as const
    const [levels, definitions] = lengths
    if (!(levels >= 0 && definitions >= 0 && levels + definitions <= packed.length)) {
      throw new Error("levels longer than their page")
    }
    const count = two.num_values
    const reader = readerOf(packed)
    if (repetition > 0) walkRuns(reader, { width: bitWidth(repetition), count })
    reader.offset = levels
    if (definition > 0) walkRuns(reader, { width: bitWidth(definition), count })
    const rest = packed.subarray(levels + definitions)
    const unpacked =
      two.is_compressed === false
        ? rest
        : decompressPage(rest, size - levels - definitions, codec, compressors)
    checkValues(readerOf(unpacked), count - (two.num_nulls ?? 0), two.encoding ?? "PLAIN", type)
  }
}
