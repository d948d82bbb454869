/**
 * Columns of numbers and some JSON as bytes: a little-endian length, the JSON, padding to eight
 * bytes, then each column's float64 numbers. Runs in a browser too.
 */
export interface StepTable {
  /** JSON beside the columns. */
  readonly rest: unknown
  /** All of one length. */
  readonly columns: ReadonlyMap<string, ArrayLike<number>>
}

interface Head {
  readonly rest: unknown
  readonly names: readonly string[]
  readonly rows: number
}

const LENGTH_BYTES = 4
const padded = (bytes: number) => Math.ceil(bytes / 8) * 8

export function encodeTable({ rest, columns }: StepTable): Uint8Array<ArrayBuffer> {
  const rows = columns.values().next().value?.length ?? 0
  const head = new TextEncoder().encode(
    JSON.stringify({ rest, names: [...columns.keys()], rows } satisfies Head),
  )
  const start = padded(LENGTH_BYTES + head.length)
  const bytes = new Uint8Array(start + 8 * rows * columns.size)
  new DataView(bytes.buffer).setUint32(0, head.length, true)
  bytes.set(head, LENGTH_BYTES)
  const numbers = new Float64Array(bytes.buffer, start)
  for (const [i, column] of [...columns.values()].entries()) numbers.set(column, i * rows)
  return bytes
}

/** Undefined for what `encodeTable` did not write. */
export function decodeTable(bytes: Uint8Array<ArrayBuffer>): StepTable | undefined {
  if (bytes.length < LENGTH_BYTES) return undefined
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true)
  if (length > bytes.length - LENGTH_BYTES) return undefined
  const text = new TextDecoder().decode(bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + length))
  let head: Partial<Head>
  try {
    head = JSON.parse(text)
  } catch {
    return undefined // a file of another program
  }
  const { names, rows, rest } = head
  if (!Array.isArray(names) || !Number.isSafeInteger(rows)) return undefined
  const start = padded(LENGTH_BYTES + length)
  if (bytes.length !== start + 8 * rows! * names.length) return undefined
  const numbers = new Float64Array(bytes.slice(start).buffer)
  return {
    rest,
    columns: new Map(
      names.map((name, i) => [String(name), numbers.subarray(i * rows!, (i + 1) * rows!)]),
    ),
  }
}
