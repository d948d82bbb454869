/** The page headers of a parquet file, looked at before anything is decoded from its pages. */
import {
  type AsyncBuffer,
  type Compressors,
  type FileMetaData,
  parquetSchema,
  type RowGroup,
} from "hyparquet"
import { parquetHeader } from "hyparquet/src/column.js"
import { getTreePath } from "hyparquet/src/schema.js"
import { checkRuns } from "./parquet-runs.ts"

/** A header with its statistics; the values lie behind it. */
const HEADER_BYTES = 65_536
const MAX_PAGE_BYTES = 512 * 2 ** 20
/** Of one column in one row group, lists among them. */
const MAX_VALUES = 2 ** 26

/** What pages unpack to, beside what they take: beyond this size no text packs so well. */
const SMALL_BYTES = 64 * 2 ** 20
const MOST_PACKED = 1000
/** Lists and structures in each other; every level is an array around a value. */
const MAX_DEPTH = 64

const isCount = (value: unknown, most: number): boolean =>
  Number.isSafeInteger(value) && Number(value) >= 0 && Number(value) <= most

/**
 * Holds every page of a row group to what its column says: a damaged header may ask for any number
 * of values, and the decoder makes room for them first.
 *
 * @throws Error saying which column's pages do not fit
 */
export async function checkPages(
  file: AsyncBuffer,
  { columns, num_rows }: RowGroup,
  { metadata, compressors }: { metadata: FileMetaData; compressors: Compressors },
): Promise<void> {
  const tree = parquetSchema(metadata)
  for (const { meta_data: column } of columns) {
    if (column === undefined) continue
    const name = column.path_in_schema.join(".")
    const wrong = (what: string) => new Error(`column ${name}: ${what}`)
    const values = Number(column.num_values)
    if (!isCount(values, MAX_VALUES)) throw wrong(`says that it has ${values} values`)
    const schemaPath = getTreePath(tree, column.path_in_schema)
    if (schemaPath.length > MAX_DEPTH) throw wrong(`lies ${schemaPath.length} levels deep`)
    // each row has a value, if only to say that it has none
    if (num_rows > values) throw wrong(`has ${values} values for ${num_rows} rows`)
    const starts = [column.dictionary_page_offset, column.data_page_offset].map((at) =>
      at === undefined ? Number.NaN : Number(at),
    )
    let at = Math.min(...starts.filter((start) => start > 0))
    const end = at + Number(column.total_compressed_size)
    if (!isCount(at, file.byteLength) || !isCount(end, file.byteLength)) {
      throw wrong("lies outside of the file")
    }
    const start = at
    const whole = end - start <= SMALL_BYTES ? await file.slice(start, end) : undefined
    const piece = async (from: number, to: number) =>
      whole?.slice(from - start, to - start) ?? file.slice(from, to)
    for (let left = values; at < end - 1; ) {
      const view = new DataView(await piece(at, Math.min(end, at + HEADER_BYTES)))
      const reader = { view, offset: 0 }
      const page = parquetHeader(reader)
      const {
        data_page_header: one,
        data_page_header_v2: two,
        dictionary_page_header: words,
      } = page
      if (!isCount(page.compressed_page_size, end - at - reader.offset)) {
        throw wrong("a page is longer than the column")
      }
      if (!isCount(page.uncompressed_page_size, MAX_PAGE_BYTES)) {
        throw wrong(`a page says that it unpacks to ${page.uncompressed_page_size} bytes`)
      }
      const most = Math.max(SMALL_BYTES, MOST_PACKED * page.compressed_page_size)
      if (page.uncompressed_page_size > most) {
        throw wrong(
          `a page of ${page.compressed_page_size} bytes says that it unpacks to more than text does`,
        )
      }
      if (words && !isCount(words.num_values, page.uncompressed_page_size)) {
        throw wrong(`its dictionary says that it has ${words.num_values} values`)
      }
      const count = one?.num_values ?? two?.num_values ?? 0
      if (!isCount(count, left)) throw wrong(`a page says that it has ${count} of ${left} values`)
      if (two && !isCount(two.num_rows, count)) throw wrong("a page has more rows than values")
      if (two && !isCount(two.num_nulls ?? 0, count)) {
        throw wrong(`a page says that ${two.num_nulls} of ${count} values are null`)
      }
      left -= count
      const from = at + reader.offset
      at = from + page.compressed_page_size
      if (count === 0) continue
      try {
        checkRuns(new Uint8Array(await piece(from, at)), page, {
          ...column,
          schemaPath,
          compressors,
        })
      } catch (error) {
        throw wrong(`a page is damaged: ${(error as Error).message}`)
      }
    }
  }
}
