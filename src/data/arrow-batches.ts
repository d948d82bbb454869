/** Values of an Arrow column, held to each other before a row is made of them. */
import { type Column, Type } from "@uwdata/flechette"

/** Several views may share a text. */
const MOST_SHARED = 8
const SMALL_BYTES = 64 * 2 ** 20

/** What is used of the library's batches. */
interface Batch {
  readonly length: number
  readonly type: { readonly typeId: number; readonly stride?: number }
  readonly offsets?: ArrayLike<number | bigint> | null
  readonly sizes?: ArrayLike<number | bigint>
  readonly values?: { readonly byteLength: number }
  readonly data?: readonly Uint8Array[]
  readonly children?: readonly Batch[]
  readonly dictionary?: Column<unknown>
}

const batchesOf = (column: Column<unknown>): readonly Batch[] =>
  column.data as unknown as readonly Batch[]

/**
 * @param bytes of the file, unpacked
 * @throws Error saying what does not fit
 */
export function checkColumns(columns: readonly Column<unknown>[], bytes: number): void {
  const seen = new Set<Column<unknown>>()
  const check = (batch: Batch, least: number): void => {
    const { length, type, children = [], dictionary } = batch
    // a value takes a bit at least; what takes none is no row's only value
    if (!(Number.isSafeInteger(length) && length >= 0 && length <= 8 * bytes)) {
      throw new Error(`a column says that it has ${length} values`)
    }
    if (length < least) throw new Error(`${length} values where ${least} are needed`)
    const inner = childValues(batch)
    for (const child of children) check(child, inner)
    if (type.typeId === Type.Utf8View || type.typeId === Type.BinaryView) checkViews(batch, bytes)
    if (dictionary === undefined || seen.has(dictionary)) return
    seen.add(dictionary)
    for (const values of batchesOf(dictionary)) check(values, 0)
  }
  const rows = columns[0] && batchesOf(columns[0]).map(({ length }) => length)
  for (const column of columns) {
    for (const [i, batch] of batchesOf(column).entries()) check(batch, rows?.[i] ?? 0)
  }
}

/** How many values its children must have. */
function childValues(batch: Batch): number {
  const { length, type, values, children = [] } = batch
  switch (type.typeId) {
    case Type.Utf8:
    case Type.LargeUtf8:
    case Type.Binary:
    case Type.LargeBinary:
      return runningTo(batch, values?.byteLength ?? 0)
    case Type.List:
    case Type.LargeList:
    case Type.Map:
      return runningTo(batch, children[0]?.length ?? 0)
    case Type.ListView:
    case Type.LargeListView:
      return viewed(batch, children[0]?.length ?? 0)
    case Type.FixedSizeList:
      return length * (type.stride ?? 0)
    case Type.Struct:
      return length
    default:
      return 0
  }
}

/** The end of the last of `length` parts, each of which begins where the one before ends. */
function runningTo({ length, offsets }: Batch, most: number): number {
  if (length === 0 || !offsets) return 0
  if (offsets.length <= length) throw new Error(`${offsets.length} offsets of ${length} values`)
  let before = 0
  for (let i = 0; i <= length; i++) {
    const offset = Number(offsets[i])
    if (!(offset >= before && offset <= most)) {
      throw new Error(`offset ${offset} behind ${before}, of ${most}`)
    }
    before = offset
  }
  return before
}

function viewed({ length, offsets, sizes }: Batch, most: number): number {
  let [sum, end] = [0, 0]
  for (let i = 0; i < length; i++) {
    const [offset, size] = [Number(offsets?.[i] ?? 0), Number(sizes?.[i] ?? 0)]
    if (!(offset >= 0 && size >= 0 && offset + size <= most)) {
      throw new Error(`a part of ${size} values at ${offset}, of ${most}`)
    }
    sum += size
    end = Math.max(end, offset + size)
  }
  if (sum > Math.max(SMALL_BYTES, MOST_SHARED * most)) throw new Error("parts that share too much")
  return end
}

/** A view is 16 bytes, its length first (Columnar.html, Variable-size Binary View Layout). */
function checkViews({ length, values }: Batch, bytes: number): void {
  const views = values as unknown as Uint8Array
  if (views.byteLength < 16 * length)
    throw new Error(`${length} views in ${views.byteLength} bytes`)
  const view = new DataView(views.buffer, views.byteOffset, views.byteLength)
  let sum = 0
  for (let i = 0; i < length; i++) sum += Math.max(0, view.getInt32(16 * i, true))
  if (sum > Math.max(SMALL_BYTES, MOST_SHARED * bytes)) throw new Error("views that share too much")
}
