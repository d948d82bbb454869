import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { rawRows, rowFileKind } from "../../src/data/row-files.ts"

const ROWS = new URL("../../golden/rows/", import.meta.url)
const root = mkdtempSync(join(tmpdir(), "dftune-arrow-"))
afterAll(() => rmSync(root, { recursive: true, force: true }))

async function rowsOf(path: string) {
  const all: unknown[] = []
  for await (const { rows } of rawRows(path, rowFileKind(path)!)) all.push(...rows)
  return all
}
const golden = (name: string) => rowsOf(new URL(name, ROWS).pathname)

/** A golden file with bytes changed: each change is found by what stands there. */
function changed(name: string, change: (bytes: Buffer) => void): string {
  const path = join(root, name)
  cpSync(new URL(name, ROWS), path)
  const bytes = readFileSync(path)
  change(bytes)
  writeFileSync(path, bytes)
  return path
}

test("file, stream and packed Arrow hold the same rows, and parquet too", async () => {
  const rows = await golden("file.arrow")
  expect(rows).toHaveLength(24)
  expect(await golden("stream.arrow")).toEqual(rows)
  expect(await golden("packed.arrow")).toEqual(rows)
  const without = rows.map((row) => {
    const { line, value } = row as { line: number; value: { kind: string } }
    const { kind: _, ...rest } = value
    return { line, value: rest }
  })
  expect(await golden("zstd.parquet")).toEqual(without)
})

/** 12 rows a batch, as a field node has them. */
const NODE = Buffer.from([12, 0, 0, 0, 0, 0, 0, 0])

test.each([
  ["a column of 2^40 values", 2 ** 40],
  ["a column of fewer values than the first", 3],
])("%s is refused", async (_, values) => {
  const path = changed("file.arrow", (bytes) => {
    let at = bytes.indexOf(NODE)
    for (let next = at; next !== -1; next = bytes.indexOf(NODE, next + 1)) {
      if (bytes.readBigInt64LE(next + 8) < 13n) at = next
    }
    bytes.writeBigInt64LE(BigInt(values), at)
  })
  await expect(rowsOf(path)).rejects.toThrow(/not a readable Arrow file: .* values/)
})

test("offsets that go back, or past what they point into, are refused", async () => {
  // the offsets of `messages`: two a row
  const offsets = Buffer.from(Int32Array.from({ length: 12 }, (_, i) => 2 * i).buffer)
  for (const wrong of [-1, 2 ** 30, 20]) {
    const path = changed("file.arrow", (bytes) => {
      bytes.writeInt32LE(wrong, bytes.indexOf(offsets) + 8)
    })
    await expect(rowsOf(path), String(wrong)).rejects.toThrow(/offset -?\d+ behind \d+, of \d+/)
  }
})

test("a list of columns, batches or pieces longer than the file is refused before it is made", async () => {
  const found: string[] = []
  const { length } = readFileSync(new URL("stream.arrow", ROWS))
  for (let at = 0; at < Math.min(length, 1200) - 4; at += 4) {
    const path = changed("stream.arrow", (bytes) => {
      bytes.writeInt32LE(2 ** 30, at)
    })
    const message = await rowsOf(path).then(String, (error: Error) => error.message)
    if (/longer than the file/.test(message)) found.push(message)
  }
  expect(found.length).toBeGreaterThan(5)
})

test("packed values that say that they unpack to a gigabyte are refused", async () => {
  const path = changed("packed.arrow", (bytes) => {
    const frame = bytes.indexOf(Buffer.from([0x28, 0xb5, 0x2f, 0xfd]))
    bytes.writeBigInt64LE(2n ** 30n, frame - 8)
  })
  await expect(rowsOf(path)).rejects.toThrow(/unpacks to more than text does/)
})

test.each([
  ["first", 0],
  ["second", 1],
])("a zstd frame whose window is 1 GB is refused in the %s place", async (_, place) => {
  const right = readFileSync(new URL("rows.jsonl.zst", ROWS))
  // no single segment, window descriptor 20 << 3: 2^30
  const wrong = Buffer.concat([
    Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0, 20 << 3]),
    right.subarray(6),
  ])
  const path = join(root, "window.jsonl.zst")
  writeFileSync(path, Buffer.concat(place === 0 ? [wrong] : [right, wrong]))
  await expect(rowsOf(path)).rejects.toThrow(/window\.jsonl\.zst: .* window is 1024 MB/)
  const twice = join(root, "twice.jsonl.zst")
  writeFileSync(twice, Buffer.concat([right, right]))
  expect(await rowsOf(twice)).toHaveLength(48)
})

test("calls keep what their columns' types say: whole floats, and integers past 2^53", async () => {
  const calls = (given: string) => `[{"function":{"name":"f","arguments":${given}}}]`
  const expected = [
    calls('{"id":1234567890123456789,"p":2.0,"q":0.5,"list":[1.0,2.5],"small":3}'),
    calls('{"id":4,"q":-0.0,"list":[]}'),
    calls('{"id":5,"p":1e+22,"q":1e-7,"small":7}'),
  ]
  for (const name of ["calls.parquet", "calls.arrow"]) {
    const rows = (await golden(name)) as { value: { messages: object[]; tools: string } }[]
    expect(rows.map(({ value }) => value.messages[1])).toEqual(
      expected.map((tool_calls) => ({ role: "assistant", content: "", tool_calls })),
    )
    expect(rows[0]!.value.tools).toBe('[{"name":"f","parameters":{"most":2.0}}]')
    expect(rows[0]!.value.messages[0]).toMatchObject({ role: "user", content: "Q" })
  }
})

test.each(["none.parquet", "file.arrow"])("a cut %s says so", async (name) => {
  for (const bytes of name.endsWith(".parquet") ? [0, 7, 100] : [7, 100]) {
    const path = join(root, `cut-${bytes}-${name}`)
    writeFileSync(path, readFileSync(new URL(name, ROWS)).subarray(0, bytes))
    await expect(rowsOf(path)).rejects.toThrow(/not a readable/)
    await expect(rowsOf(path)).rejects.not.toThrow(/DataView|bounds/)
  }
})
