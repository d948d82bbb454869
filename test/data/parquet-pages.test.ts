import { readFileSync } from "node:fs"
import {
  type AsyncBuffer,
  type PageHeader,
  parquetMetadata,
  parquetReadObjects,
  type RowGroup,
} from "hyparquet"
import { compressors } from "hyparquet-compressors"
import { expect, test, vi } from "vitest"
import { checkPages } from "../../src/data/parquet-pages.ts"
import { checkRuns, type PageColumn } from "../../src/data/parquet-runs.ts"
import { unpackedOnce } from "../../src/data/parquet-unpacked.ts"

const bytes = readFileSync(new URL("messages.parquet", import.meta.url))
const buffer = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)
const metadata = parquetMetadata(buffer)
const { row_groups: groups } = metadata

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
  for (const group of groups) await checkPages(file, group, { metadata, compressors })
})

test.each([
  ["fewer values than its pages", { num_values: 0n }, /has 0 values for \d+ rows/],
  ["more values than anything", { num_values: 2n ** 40n }, /says that it has 1099511627776 values/],
  ["fewer bytes than its pages", { total_compressed_size: 30n }, /longer than the column/],
  ["bytes behind the file", { total_compressed_size: 2n ** 40n }, /lies outside of the file/],
] as const)("a column with %s is refused before it is decoded", async (_, numbers, reason) => {
  for (const index of groups[0]!.columns.keys()) {
    await expect(
      checkPages(file, changed(index, numbers), { metadata, compressors }),
    ).rejects.toThrow(reason)
  }
})

test("a page header with other numbers is refused", async () => {
  const at = Number(groups[0]!.columns[0]!.meta_data!.data_page_offset)
  let refused = 0
  for (let offset = at; offset < at + 24; offset++) {
    const damaged = buffer.slice(0)
    new Uint8Array(damaged)[offset]! ^= 0x7e
    await checkPages(damaged, groups[0]!, { metadata, compressors }).catch(() => refused++)
  }
  expect(refused).toBeGreaterThan(4)
})

test("a page of the second version that says that it has more nulls than values is refused", async () => {
  // written by pyarrow: data_page_version 2.0, six texts of which two are null, nothing packed
  const own = readFileSync(new URL("pages-v2.parquet", import.meta.url))
  const right = own.buffer.slice(own.byteOffset, own.byteOffset + own.length)
  const about = { metadata: parquetMetadata(right), compressors }
  const [group] = about.metadata.row_groups
  await checkPages(right, group!, about)
  const at = Number(group!.columns[0]!.meta_data!.data_page_offset)
  const reasons = new Set<string>()
  for (let offset = at; offset < at + 24; offset++) {
    const damaged = right.slice(0)
    new Uint8Array(damaged)[offset] = 0x1e // 15, as the header's numbers are written
    await checkPages(damaged, group!, about).catch((error: Error) => reasons.add(error.message))
  }
  expect([...reasons].join("\n")).toMatch(/a page says that 15 of 6 values are null/)
})

/** A page of an optional text, as it lies in a file that is not packed. */
const OPTIONAL = {
  codec: "UNCOMPRESSED",
  type: "BYTE_ARRAY",
  schemaPath: [{ element: {} }, { element: { repetition_type: "OPTIONAL" } }],
  compressors,
} as unknown as PageColumn

function page(bytes: readonly number[], numbers: { num_values: number; encoding: string }) {
  const header = { uncompressed_page_size: bytes.length, data_page_header: numbers }
  return [Uint8Array.from(bytes), header as PageHeader, OPTIONAL] as const
}

const twoLevels = (...run: number[]) => [run.length, 0, 0, 0, ...run]

test.each([
  ["levels that repeat without end", twoLevels(0xfe, 0xff, 0xff, 0xff, 0x0f, 1), /a run of 2147/],
  ["levels in a run of none", twoLevels(0, 1), /a run of no values/],
  ["levels packed without end", twoLevels(0xff, 0xff, 0xff, 0xff, 0x0f, 1), /a run of \d{9,}/],
  ["levels cut off", twoLevels(2, 1), /./],
  [
    "places in a dictionary that repeat without end",
    [...twoLevels(4, 1), 1, 0xfe, 0xff, 0x7f, 1],
    /a run of/,
  ],
  ["places in a dictionary of 200 bits", [...twoLevels(4, 1), 200, 4, 1], /200 bits/],
] as const)("%s are refused before a value of them is written", (_, bytes, reason) => {
  expect(() => checkRuns(...page(bytes, { num_values: 2, encoding: "RLE_DICTIONARY" }))).toThrow(
    reason,
  )
})

test.each([
  // block, parts, count, first; then the least difference and the bits of each part
  [
    "that each begin with all of the last",
    [128, 1, 1, 2, 2, 0, 0],
    [128, 1, 1, 2, 0, 0, 0],
    /begins with more/,
  ],
  [
    "in blocks of no parts",
    [128, 1, 0, 2, 0, 0, 0],
    [128, 1, 1, 2, 0, 0, 0],
    /128 values in 0 parts/,
  ],
  [
    "in blocks of a negative number of parts",
    [128, 1, 0xfb, 0xff, 0xff, 0xff, 0x0f],
    [],
    /in -5 parts/,
  ],
] as const)("texts %s are refused", (_, prefixes, suffixes, reason) => {
  const bytes = [...twoLevels(4, 1), ...prefixes, ...suffixes]
  expect(() => checkRuns(...page(bytes, { num_values: 2, encoding: "DELTA_BYTE_ARRAY" }))).toThrow(
    reason,
  )
})

test("texts that take far more than their page are refused", () => {
  const count = 16_000
  const zigzag = (value: number) => [((value * 2) & 127) | 128, ((value * 2) >> 7) & 127]
  // blocks of 65,536 in one part of no bits: first number, then the same difference for all others
  const numbers = (first: number[], least: number[]) => [
    0x80,
    0x80,
    0x04,
    1,
    1,
    ...first,
    ...least,
    0,
  ]
  const suffixes = numbers(zigzag(1), [0]) // each adds a letter to all of the last
  const prefixes = numbers([0], [2])
  const bytes = [...twoLevels(0x80, 0xfa, 0x01, 1), ...prefixes, ...suffixes]
  expect(() =>
    checkRuns(...page(bytes, { num_values: count, encoding: "DELTA_BYTE_ARRAY" })),
  ).toThrow(/texts of over 64 MB in a small page/)
})

test.each(["zstd", "gzip", "lz4", "brotli", "snappy"])(
  "%s: a page that was looked at is handed back to the decoder",
  async (name) => {
    const own = readFileSync(new URL(`../../golden/rows/${name}.parquet`, import.meta.url))
    const whole = Uint8Array.from(own).buffer as ArrayBuffer
    const metadata = parquetMetadata(whole)
    const bytes: AsyncBuffer = { byteLength: whole.byteLength, slice: (a, b) => whole.slice(a, b) }
    const { file, compressors, forget } = unpackedOnce(bytes)
    const codec = metadata.row_groups[0]!.columns[0]!.meta_data!.codec
    const spied = vi.fn(compressors[codec])
    const counted = { ...compressors, [codec]: spied }
    const pages: Uint8Array[] = []
    for (const group of metadata.row_groups)
      await checkPages(file, group, { metadata, compressors: counted })
    pages.push(...spied.mock.results.map(({ value }) => value as Uint8Array))
    spied.mockClear()
    const rows = await parquetReadObjects({ file, metadata, compressors: counted })
    const again = spied.mock.results.map(({ value }) => value as Uint8Array)
    expect(pages.length).toBeGreaterThan(4)
    expect(pages.every((page) => again.includes(page))).toBe(true)
    expect(rows).toHaveLength(24)
    forget()
    expect(await parquetReadObjects({ file, metadata, compressors: counted })).toEqual(rows)
  },
)
