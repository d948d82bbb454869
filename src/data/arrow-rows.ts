import { readFile } from "node:fs/promises"
import { setCompressionCodec, tableFromIPC } from "@uwdata/flechette"
import { decompress } from "fzstd"
import { InputError } from "../errors.ts"
import { checkColumns } from "./arrow-batches.ts"
import { checkMessages } from "./arrow-messages.ts"
import { damageIn } from "./json-text.ts"
import { VALUE_ROWS } from "./raw-rows.ts"
import { arrowFloats } from "./typed-calls.ts"
import { frameWatch } from "./zstd-frames.ts"

/** A file is held whole; `datasets` writes shards of 500 MB. */
const MAX_ARROW_BYTES = 2 ** 30
/** What is packed in it may unpack to so much, or to so many times its size. */
const SMALL_BYTES = 64 * 2 ** 20
const MOST_PACKED = 1000

/**
 * The rows of an Arrow file or stream, as `datasets` saves them. Line numbers are row numbers, from
 * 1.
 */
export async function* arrowRows(path: string, size: number) {
  if (size > MAX_ARROW_BYTES) {
    throw new InputError(
      `${path}: expected at most ${MAX_ARROW_BYTES / 2 ** 30} GB of Arrow data, got ${(size / 2 ** 30).toFixed(1)} GB; write it as parquet`,
    )
  }
  const table = read(path, await readFile(path))
  const floats = arrowFloats(table.schema.fields)
  for (let from = 0; from < table.numRows; from += VALUE_ROWS) {
    const count = Math.min(VALUE_ROWS, table.numRows - from)
    const rows = Array.from({ length: count }, (_, i) => ({
      line: from + i + 1,
      value: rowOf(path, () => table.at(from + i)),
    }))
    yield { rows, floats, fraction: (from + count) / table.numRows }
  }
}

function read(path: string, bytes: Uint8Array) {
  let left = Math.min(MAX_ARROW_BYTES, Math.max(SMALL_BYTES, MOST_PACKED * bytes.length))
  let unpacked = bytes.length
  setCompressionCodec(1, {
    encode: unwritten,
    // the library hands over the length too, which its types leave out
    decode: (packed: Uint8Array, ...[length = 0]: number[]) => {
      left -= length
      if (!(length >= 0 && left >= 0)) throw new Error("it unpacks to more than text does")
      unpacked += length
      frameWatch()(packed)
      return decompress(packed, new Uint8Array(length))
    },
  })
  try {
    checkMessages(bytes)
    const table = tableFromIPC(bytes, { useProxy: false, useBigInt: true })
    checkColumns(table.children, unpacked)
    return table
  } catch (error) {
    throw unreadable(path, error)
  }
}

const unwritten = (): never => {
  throw new Error("nothing is packed here")
}

/** Damage may show only when a row is put together. */
function rowOf(path: string, row: () => unknown): unknown {
  try {
    return row()
  } catch (error) {
    throw unreadable(path, error)
  }
}

function unreadable(path: string, error: unknown): InputError {
  const { message } = error as Error
  const hint = /LZ4/.test(message)
    ? "it is packed with LZ4, which is not read; write it as parquet, or unpacked"
    : damageIn(error as Error)
  return new InputError(`${path}: not a readable Arrow file: ${hint}`)
}
