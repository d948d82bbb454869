import { readFileSync } from "node:fs"
import { type AsyncBuffer, parquetMetadata, type RowGroup } from "hyparquet"
import { expect, test } from "vitest"
import { checkPages } from "../../src/data/parquet-pages.ts"

const bytes = readFileSync(new URL("messages.parquet", import.meta.url))
const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)
const { row_groups: groups } = parquetMetadata(buffer)

/** Column `index` of the first row group, with some of its numbers others. */
function changed(index: number, numbers: Partial<RowGroup["columns"][0]["meta_data"]>): RowGroup {
  const group = groups[0]!
  const columns = group.columns.map((column, i) =>
    i === index ? { ...column, meta_data: { ...column.meta_data!, ...numbers } } : column,
  )
  return { ...group, columns: columns as RowGroup["columns"] }
}

const file = buffer as AsyncBuffer

test("a right file's pages are what its columns say", async () => {
  for (const group of groups) await checkPages(file, group)
})

test.each([
  ["fewer values than its pages", { num_values: 0n }, /a page says that it has \d+ of 0 values/],
  ["more values than anything", { num_values: 2n ** 40n }, /says that it has 1099511627776 values/],
  ["fewer bytes than its pages", { total_compressed_size: 30n }, /longer than the column/],
  ["bytes behind the file", { total_compressed_size: 2n ** 40n }, /lies outside of the file/],
] as const)("a column with %s is refused before it is decoded", async (_, numbers, reason) => {
  for (const index of groups[0]!.columns.keys()) {
    await expect(checkPages(file, changed(index, numbers))).rejects.toThrow(reason)
  }
})

test("a page header with other numbers is refused", async () => {
  const at = Number(groups[0]!.columns[0]!.meta_data!.data_page_offset)
  let refused = 0
  for (let offset = at; offset < at + 24; offset++) {
    const damaged = buffer.slice(0)
    new Uint8Array(damaged)[offset]! ^= 0x7e
    await checkPages(damaged, groups[0]!).catch(() => refused++)
  }
  expect(refused).toBeGreaterThan(4)
})
