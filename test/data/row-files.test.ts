import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { expect, test } from "vitest"
import { globFiles } from "../../src/data/glob.ts"
import { elementSplitter } from "../../src/data/json-elements.ts"
import { rawValues } from "../../src/data/read-batch.ts"
import { type RawRow, rawRows, rowFileKind } from "../../src/data/row-files.ts"
import { resolveSources, sourceBatches } from "../../src/data/sources.ts"
import { InputError } from "../../src/errors.ts"
import { fc } from "../seeded-check.ts"
import { newFolder } from "./tiny-model.ts"

const folder = newFolder()

function written(name: string, content: string | Uint8Array): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

interface Row {
  readonly line: number
  readonly value?: unknown
  readonly problem?: string
}

/** Rows of a file with their JSON parsed. */
async function rowsOf(path: string): Promise<Row[]> {
  const kind = rowFileKind(path)
  const found: Row[] = []
  for await (const { rows } of rawRows(path, kind!)) found.push(...rows.map(parsed))
  return found
}

function parsed(row: RawRow): Row {
  if (!("json" in row)) return row
  try {
    return { line: row.line, value: JSON.parse(Buffer.from(row.json).toString()) }
  } catch {
    return { line: row.line, problem: "not JSON" }
  }
}

const LINES = '{"text":"a"}\n\n{"text":"b\\u2028ü"}\r\n  \n{"text":"c"}'
const EXPECTED = [
  { line: 1, value: { text: "a" } },
  { line: 3, value: { text: "b\u2028ü" } },
  { line: 5, value: { text: "c" } },
]

// made once with `zstd -19` of LINES
const ZST = Buffer.from(
  "KLUv/QRoVQEABAJ7InRleHQiOiJhIn0KCmJcdTIwMjjDvCJ9DQogIGMifQIAPHcdxVQCF21IXQ==",
  "base64",
)

test("jsonl, blank lines counted, with and without a byte order mark, packed or not", async () => {
  expect(await rowsOf(written("a.jsonl", LINES))).toEqual(EXPECTED)
  expect(await rowsOf(written("bom.jsonl", `\ufeff${LINES}`))).toEqual(EXPECTED)
  expect(await rowsOf(written("a.jsonl.gz", gzipSync(LINES)))).toEqual(EXPECTED)
  expect(await rowsOf(written("a.jsonl.zst", ZST))).toEqual(EXPECTED)
  expect(await rowsOf(written("empty.jsonl", ""))).toEqual([])
})

test("lines are the same wherever the reader's pieces end", async () => {
  const long = Array.from({ length: 40 }, (_, i) => JSON.stringify({ text: "x".repeat(i * 7919) }))
  const rows = await rowsOf(written("long.jsonl", long.join("\n")))
  expect(rows.map(({ line }) => line)).toEqual(long.map((_, i) => i + 1))
  expect(rows.map(({ value }) => JSON.stringify(value))).toEqual(long)
})

test("json: a list with the line of each row, an object that holds one, or lines under the wrong name", async () => {
  const list = '[\n {"text": "[,{"},\n\n {"text": "b"}, {"text":\n "c"}]'
  expect(await rowsOf(written("list.json", list))).toEqual([
    { line: 2, value: { text: "[,{" } },
    { line: 4, value: { text: "b" } },
    { line: 4, value: { text: "c" } },
  ])
  expect(await rowsOf(written("data.json", '{"version": 1, "data": [\n{"text": "a"}]}'))).toEqual([
    { line: 2, value: { text: "a" } },
  ])
  expect(await rowsOf(written("lines.json", LINES))).toEqual(EXPECTED)
  expect(await rowsOf(written("one.json", '{"text": "a"}'))).toEqual([
    { line: 1, value: { text: "a" } },
  ])
  expect(await rowsOf(written("bom.json", `\ufeff ${list}`))).toHaveLength(3)
  expect(await rowsOf(written("none.json", " [ ]\n"))).toEqual([])
  await expect(rowsOf(written("number.json", "3"))).rejects.toThrow(/expected a list of rows/)
})

test("a json list is the same wherever the reader's pieces end", () => {
  fc.assert(
    fc.property(
      fc.array(fc.jsonValue({ maxDepth: 3 }), { maxLength: 6 }),
      fc.nat(2),
      fc.array(fc.nat(200), { maxLength: 5 }),
      (values, indent, cuts) => {
        const bytes = Buffer.from(JSON.stringify(values, null, indent))
        const splitter = elementSplitter("list.json")
        const ends = [...cuts.map((at) => Math.min(at, bytes.length)), bytes.length]
        const pieces = ends
          .sort((a, b) => a - b)
          .map((end, i) => bytes.subarray(ends[i - 1] ?? 0, end))
        const found = pieces.flatMap((piece) => splitter.push(piece))
        splitter.finish()
        expect(found.map((row) => JSON.parse(String(row.bytes)))).toEqual(JSON.parse(String(bytes)))
        if (indent > 0) expect(new Set(found.map(({ line }) => line)).size).toBe(found.length)
      },
    ),
  )
})

test.each([
  ['[{"text": "a"', /^FILE:1: not valid JSON: expected the list to end$/],
  ['[{"text": "a"},\n]', /^FILE:2: not valid JSON: expected a row$/],
  ['[{"text": "a"}\n{"text": "b"}]', /^FILE:1: .*goes wrong 1 line below, at character 1: /],
  [
    '[\n  {\n    "text": "a",\n  }\n]',
    /^FILE:2: .*goes wrong 2 lines below, at character 3: expected a key in double quotes, got \} behind a comma$/,
  ],
  ['["a"\n,,"b"]', /^FILE:2: not valid JSON: expected a row$/],
  ['[{"text": "a"}] x', /^FILE:1: not valid JSON: expected nothing after the list$/],
  ['[{"text": "a"}}]', /^FILE:1: not valid JSON: expected a comma or the end of the list$/],
])("a json list that is none: %s", async (text, expected) => {
  const path = written("broken.json", text)
  const reading = (async () => {
    for await (const { batch } of sourceBatches(await resolveSources([{ path, weight: 1 }])))
      for (const _ of rawValues(batch));
  })()
  const error = await reading.catch((reason: Error) => reason)
  expect(error).toBeInstanceOf(InputError)
  expect((error as Error).message.replaceAll(path, "FILE")).toMatch(expected)
})

test("a json row that is too long is named, and those behind it are read", async () => {
  const long = JSON.stringify([{ text: "a" }, { text: "x".repeat(17 * 2 ** 20) }, { text: "b" }])
  expect(await rowsOf(written("long.json", long.replaceAll("},", "},\n")))).toEqual([
    { line: 1, value: { text: "a" } },
    { line: 2, problem: "expected a row of at most 16 MB, got a longer one" },
    { line: 3, value: { text: "b" } },
  ])
})

test("csv: what stands between fields is told by the header, or by Excel's first line", async () => {
  const values = async (name: string, text: string) =>
    (await rowsOf(written(name, text))).map(({ value, problem }) => value ?? problem)
  const one = { prompt: "a, b", completion: "c\nd" }
  expect(await values("semi.csv", '\ufeffprompt;completion\r\na, b;"c\nd"')).toEqual([one])
  expect(await values("tabs.csv", 'prompt\tcompletion\na, b\t"c\nd"\n')).toEqual([one])
  expect(await values("said.csv", '\ufeffsep=|\nprompt|completion\na, b|"c\nd"\n')).toEqual([one])
  expect(await values("comma.tsv", "prompt,completion\na,b\n")).toEqual([
    { prompt: "a", completion: "b" },
  ])
  // a header with its usual delimiter is read as ever, and so is a single column
  expect(await values("both.csv", "a;b,c\n1;2,3\n")).toEqual([{ "a;b": "1;2", c: "3" }])
  expect(await values("alone.csv", "text\nx; y\n")).toEqual([{ text: "x; y" }])
  expect(await values("quoted.csv", '"my;text"\nx\n')).toEqual([{ "my;text": "x" }])
  expect(await values("short.csv", "a;b;c\n1;2\n")).toEqual([
    expect.stringMatching(/^expected 3 fields, as the header has, got 2; a field with ";"/),
  ])
})

test("csv: quotes, newlines in fields, a bad record named by its line", async () => {
  const text = 'prompt,completion\n"a ""b""\nc",d\ne,f,g\nh,ü\n'
  const rows = await rowsOf(written("a.csv", text))
  expect(rows.filter(({ value }) => value !== undefined)).toEqual([
    { line: 3, value: { prompt: 'a "b"\nc', completion: "d" } },
    { line: 5, value: { prompt: "h", completion: "ü" } },
  ])
  expect(rows.filter(({ problem }) => problem !== undefined)).toMatchObject([{ line: 4 }])
  expect(await rowsOf(written("a.tsv", "prompt\tcompletion\na\tb\n"))).toMatchObject([
    { value: { prompt: "a", completion: "b" } },
  ])
  await expect(
    rowsOf(written("latin.csv", Buffer.from("prompt\n\xe9\n", "latin1"))),
  ).rejects.toThrow(/UTF-8/)
})

// written once by pyarrow 26: {messages: [{role, content}], n: int64}, three rows, zstd
const PARQUET = readFileSync(new URL("messages.parquet", import.meta.url))

test("parquet: nested rows, whole numbers as numbers", async () => {
  const message = (content: string) => [{ role: "assistant", content }]
  expect(await rowsOf(written("a.parquet", PARQUET))).toEqual([
    { line: 1, value: { messages: message("a"), n: 1 } },
    { line: 2, value: { messages: message("bü"), n: 2 } },
    { line: 3, value: { messages: message("c"), n: 3 } },
  ])
})

test("damaged files are refused in words or read as far as they are sound; never a crash", async () => {
  const kinds: [string, Uint8Array][] = [
    ["f.jsonl", Buffer.from(LINES)],
    ["f.jsonl.gz", gzipSync(LINES)],
    ["f.jsonl.zst", ZST],
    ["f.json", Buffer.from('[{"text": "a"}, {"text": "b"}]')],
    ["f.csv", Buffer.from('prompt,completion\n"a",b\n')],
    ["f.parquet", PARQUET],
  ]
  const damage = fc.record({
    kind: fc.constantFrom(...kinds),
    cut: fc.double({ min: 0, max: 1, noNaN: true }),
    flips: fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 3 }),
  })
  await fc.assert(
    fc.asyncProperty(damage, async ({ kind: [name, bytes], cut, flips }) => {
      const damaged = Uint8Array.from(bytes.subarray(0, Math.ceil(bytes.length * cut)))
      for (const [at, value] of flips) if (damaged.length > 0) damaged[at % damaged.length] = value
      try {
        await rowsOf(written(name, damaged))
      } catch (error) {
        expect(error).toBeInstanceOf(InputError)
        expect((error as Error).message).toContain(name)
      }
    }),
    { numRuns: 300 },
  )
})

test("globs", () => {
  for (const name of ["g-1.jsonl", "g-2.jsonl", "g-3.csv", ".g-4.jsonl"]) written(name, "")
  const names = (pattern: string) =>
    globFiles(join(folder, pattern)).map((path) => path.slice(folder.length + 1))
  expect(names("g-*.jsonl")).toEqual(["g-1.jsonl", "g-2.jsonl"])
  expect(names("g-[13].{jsonl,csv}")).toEqual(["g-1.jsonl", "g-3.csv"])
  expect(names("**/g-?.csv")).toEqual(["g-3.csv"])
  expect(names(".g-*")).toEqual([".g-4.jsonl"])
  expect(names("none-*")).toEqual([])
})

async function chosenLines(
  path: string,
  choice: { max_rows?: number; shuffle_seed?: number },
): Promise<number[]> {
  const found: number[] = []
  const sources = await resolveSources([{ path, weight: 1, ...choice }])
  for await (const { batch } of sourceBatches(sources)) found.push(...batch.lines)
  return found
}

test("max_rows takes the first rows, or with a seed any of them, always the same", async () => {
  const path = written(
    "many.jsonl",
    Array.from({ length: 1000 }, (_, i) => `{"text":"${i}"}\n`).join(""),
  )
  expect(await chosenLines(path, { max_rows: 3 })).toEqual([1, 2, 3])
  const seeded = await chosenLines(path, { max_rows: 300, shuffle_seed: 5 })
  expect(seeded).toEqual(await chosenLines(path, { max_rows: 300, shuffle_seed: 5 }))
  expect(seeded).not.toEqual(await chosenLines(path, { max_rows: 300, shuffle_seed: 6 }))
  expect(seeded.length).toBe(300)
  expect(new Set(seeded).size).toBe(300)
  // spread over the file, not its beginning
  expect(seeded.filter((line) => line > 500).length).toBeGreaterThan(100)
  expect(await chosenLines(path, { max_rows: 5000, shuffle_seed: 5 })).toHaveLength(1000)
})

test.each([
  ["absent.jsonl", /no such file/],
  ["no-*.jsonl", /no file matches/],
  ["notes.txt", /expected .jsonl, .json, .csv/],
])("%s is refused", async (name, expected) => {
  written("notes.txt", "x")
  await expect(resolveSources([{ path: join(folder, name), weight: 1 }])).rejects.toThrow(expected)
})

test("a split of a local file is refused", async () => {
  const path = written("s.jsonl", LINES)
  await expect(resolveSources([{ path, weight: 1, split: "train" }])).rejects.toThrow(
    /hub data sets only/,
  )
})

test("a csv with a name twice in its header, with an open quote, and what is no csv", async () => {
  expect(await rowsOf(written("twice.csv", "a,b,a,a.1\n1,2,3,4\n"))).toEqual([
    { line: 2, value: { a: "1", b: "2", "a.2": "3", "a.1": "4" } },
  ])
  for (const [name, text, why] of [
    ["page.csv", "<!DOCTYPE html>\n<html>\n", /not csv: this is a web page/],
    ["lfs.csv", "version https://git-lfs.github.com/spec/v1\noid x\n", /a pointer of Git LFS/],
  ] as const)
    await expect(rowsOf(written(name, text)), name).rejects.toThrow(why)
  expect(await rowsOf(written("open.csv", 'a,b\n4,5\n"6,7\n'))).toEqual([
    { line: 2, value: { a: "4", b: "5" } },
    { line: 3, problem: expect.stringMatching(/a quote that is not closed/) },
  ])
})
