/** The page headers of a parquet file, looked at before anything is decoded from its pages. */
import type { AsyncBuffer, RowGroup } from "hyparquet"
import { parquetHeader } from "hyparquet/src/column.js"

/** A header with its statistics; the values lie behind it. */
const HEADER_BYTES = 65_536
const MAX_PAGE_BYTES = 512 * 2 ** 20
/** Of one column in one row group, lists among them. */
const MAX_VALUES = 2 ** 26

const isCount = (value: unknown, most: number): boolean =>
  Number.isSafeInteger(value) && Number(value) >= 0 && Number(value) <= most

/**
 * Holds every page of a row group to what its column says: a damaged header may ask for any number
 * of values, and the decoder makes room for them first.
 *
 * @throws Error saying which column's pages do not fit
 */
export async function checkPages(file: AsyncBuffer, { columns }: RowGroup): Promise<void> {
  for (const { meta_data: column } of columns) {
    if (column === undefined) continue
    const name = column.path_in_schema.join(".")
    const wrong = (what: string) => new Error(`column ${name}: ${what}`)
    const values = Number(column.num_values)
    if (!isCount(values, MAX_VALUES)) throw wrong(`says that it has ${values} values`)
    const starts = [column.dictionary_page_offset, column.data_page_offset].map((at) =>
      at === undefined ? Number.NaN : Number(at),
    )
    let at = Math.min(...starts.filter((start) => start > 0))
    const end = at + Number(column.total_compressed_size)
    if (!isCount(at, file.byteLength) || !isCount(end, file.byteLength)) {
      throw wrong("lies outside of the file")
    }
    for (let left = values; at < end - 1; ) {
      const view = new DataView(await file.slice(at, Math.min(end, at + HEADER_BYTES)))
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
      if (words && !isCount(words.num_values, page.uncompressed_page_size)) {
        throw wrong(`its dictionary says that it has ${words.num_values} values`)
      }
      const count = one?.num_values ?? two?.num_values ?? 0
      if (!isCount(count, left)) throw wrong(`a page says that it has ${count} of ${left} values`)
      if (two && !isCount(two.num_rows, count)) throw wrong("a page has more rows than values")
      left -= count
      at += reader.offset + page.compressed_page_size
    }
  }
}
