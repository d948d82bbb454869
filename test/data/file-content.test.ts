import { mkdirSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { gzipSync } from "node:zlib"
import { describe, expect, test } from "vitest"
import { rawValues } from "../../src/data/read-batch.ts"
import { resolveSources, sourceBatches } from "../../src/data/sources.ts"
import { newFolder } from "./tiny-model.ts"

const folder = newFolder()

function written(name: string, content: string | Uint8Array): string {
  const path = join(folder, name)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, content)
  return path
}

/** Rows of a source with the line of each. */
async function rowsOf(path: string, part: { name?: string; split?: string } = {}) {
  const found: (readonly [line: number, value: unknown])[] = []
  for await (const { batch } of sourceBatches(await resolveSources([{ path, weight: 1, ...part }])))
    for (const { line, value } of rawValues(batch)) found.push([line, value])
  return found
}

const [A, B] = [
  { prompt: "Q0", completion: "A0" },
  { prompt: "Q1", completion: "A1" },
]
const [a, b] = [JSON.stringify(A), JSON.stringify(B)]
const pretty = (value: unknown) => JSON.stringify(value, null, 2)
const CHAT = {
  messages: [
    { role: "user", content: "q" },
    { role: "assistant", content: "a" },
  ],
}

test.each([
  [
    "list.jsonl",
    `[${a}, ${b}]`,
    [
      [1, A],
      [1, B],
    ],
  ],
  [
    "pretty-list.jsonl",
    pretty([A, B]),
    [
      [2, A],
      [6, B],
    ],
  ],
  [
    "list-of-lines.jsonl",
    `[\n${a},\n${b}\n]\n`,
    [
      [2, A],
      [3, B],
    ],
  ],
  [
    "pretty-side-by-side.jsonl",
    `${pretty(A)}\n${pretty(B)}\n`,
    [
      [1, A],
      [5, B],
    ],
  ],
  [
    "pretty-side-by-side.json",
    `${pretty(A)}\n${pretty(B)}\n`,
    [
      [1, A],
      [5, B],
    ],
  ],
  [
    "one-line.jsonl",
    `${a}${b}`,
    [
      [1, A],
      [1, B],
    ],
  ],
  [
    "carriage-returns.jsonl",
    `${a}\r${b}\r`,
    [
      [1, A],
      [1, B],
    ],
  ],
  [
    "lines.json",
    `${a}\n${b}\n`,
    [
      [1, A],
      [2, B],
    ],
  ],
  [
    "mark.json",
    `\ufeff${a}\n${b}\n`,
    [
      [1, A],
      [2, B],
    ],
  ],
  [
    "blank-first.json",
    `\n \n${a}\n${b}\n`,
    [
      [3, A],
      [4, B],
    ],
  ],
  [
    "blank-first.jsonl",
    `\n${a}\n\f\n\ufeff${b}\n`,
    [
      [2, A],
      [4, B],
    ],
  ],
  ["a-row.jsonl", `${a}\n`, [[1, A]]],
  ["a-row.json", pretty(A), [[1, A]]],
  ["a-chat.json", pretty(CHAT), [[1, CHAT]]],
  ["a-chat.jsonl", pretty(CHAT), [[1, CHAT]]],
  [
    "viewer.json",
    JSON.stringify({ features: [{ name: "prompt" }], rows: [{ row_idx: 0, row: A }] }),
    [[1, A]],
  ],
  [
    "training.json",
    JSON.stringify({ version: 1, training: [A, B] }),
    [
      [1, A],
      [1, B],
    ],
  ],
  [
    "nan.jsonl",
    '{"prompt": "NaN", "completion": "A", "score": NaN, "x": [-Infinity]}\n',
    [[1, { prompt: "NaN", completion: "A", score: null, x: [null] }]],
  ],
  ["nan.json", '[{"prompt": "Q", "s": NaN}]', [[1, { prompt: "Q", s: null }]]],
  ["rows.jsonlines", `${a}\n`, [[1, A]]],
  ["rows.jsonl.txt", `${a}\n`, [[1, A]]],
  [
    "rows.data",
    `${a}\n${b}\n`,
    [
      [1, A],
      [2, B],
    ],
  ],
  ["empty.jsonl", "", []],
  ["space.json", "  \n", []],
])("%s", async (name, content, expected) => {
  expect(await rowsOf(written(name, content))).toEqual(expected)
})

test("a first line of more than the reader's piece, and rows under another's name", async () => {
  const long = { prompt: "x".repeat(3e6), completion: "y" }
  const path = written("long.json", `${JSON.stringify(long)}\n${b}\n`)
  expect((await rowsOf(path)).map(([line]) => line)).toEqual([1, 2])
})

test("packing is told by the content: capitals, a name that does not say it, one that says it wrongly", async () => {
  expect(await rowsOf(written("a.JSONL.GZ", gzipSync(`${a}\n`)))).toEqual([[1, A]])
  expect(await rowsOf(written("packed.jsonl", gzipSync(`${a}\n`)))).toEqual([[1, A]])
  expect(await rowsOf(written("plain.jsonl.gz", `${a}\n`))).toEqual([[1, A]])
})

test("quotes inside the fields of a csv are quotes", async () => {
  const csv = written("inch.csv", 'prompt,completion\nA 5" pipe,ok\n"Q", "A"\nit\'s,{"a": 1}\n')
  expect((await rowsOf(csv)).map(([, value]) => value)).toEqual([
    { prompt: 'A 5" pipe', completion: "ok" },
    { prompt: "Q", completion: ' "A"' },
    { prompt: "it's", completion: '{"a": 1}' },
  ])
  const tsv = written("say.tsv", 'prompt\tcompletion\nsay "hi" now\tok\nq\ta\n')
  expect(await rowsOf(tsv)).toHaveLength(2)
})

test.each([
  [
    '{"ok": True}',
    /1: .*it goes wrong at character 8: expected a value, got True \(Python's; write rows with json.dumps\)$/,
  ],
  ['{"ok": None}', /expected a value, got None \(Python's/],
  ["{'prompt': 'Q'}", /expected a key in double quotes, got ' \(Python's/],
  ['{"prompt": "Q" "completion": "A"}', /character 16: expected a comma or \}, got "$/],
  ['{"prompt": "Q",}', /character 16: expected a key in double quotes, got \} behind a comma$/],
  ['{"prompt": "Q \\d"}', /expected an escape that JSON knows, got \\d$/],
  ['{"prompt": "Q"', /the line ends too early$/],
  ["# rows", /expected a value, got #$/],
  ["<!DOCTYPE html><html></html>", /this is a web page, not rows/],
  ["version https://git-lfs.github.com/spec/v1", /a pointer of Git LFS, not the file itself/],
  ["\0\0\0\0", /zero bytes/],
])("what is wrong with %s is said in words", async (line, expected) => {
  const path = written("wrong.jsonl", `${line}\n${a}\n`)
  for await (const { batch } of sourceBatches(await resolveSources([{ path, weight: 1 }])))
    expect(() => [...rawValues(batch)]).toThrow(expected)
})

test.each([
  ["page.json", "<!DOCTYPE html>\n", /web page|expected a value, got </],
  ["comment.json", `// by hand\n[${a}]`, /got \//],
  [
    "wide.jsonl",
    Buffer.from(`\ufeff${a}\n`, "utf16le"),
    /UTF-16 or UTF-32 \(it begins with FF FE\); save it as UTF-8/,
  ],
  [
    "pointer.parquet",
    "version https://git-lfs.github.com/spec/v1\noid sha256:a\n",
    /a pointer of Git LFS/,
  ],
])("%s is refused in words", async (name, content, expected) => {
  await expect(rowsOf(written(name, content))).rejects.toThrow(expected)
})

describe("folders", () => {
  test("the files of the split that their names say, else all", async () => {
    written("split/data/train-00000.jsonl", a)
    written("split/data/test-00000.jsonl", b)
    expect(await rowsOf(join(folder, "split"))).toEqual([[1, A]])
    expect(await rowsOf(join(folder, "split"), { split: "test" })).toEqual([[1, B]])
    await expect(rowsOf(join(folder, "split"), { split: "validation" })).rejects.toThrow(
      /no file of it is named for the split "validation"/,
    )
    written("plain/one.jsonl", a)
    written("plain/two.json", pretty([B]))
    expect(await rowsOf(join(folder, "plain"))).toHaveLength(2)
    written("nothing/notes.md", "x")
    await expect(rowsOf(join(folder, "nothing"))).rejects.toThrow(
      /a folder without row files .* in it; it holds notes.md/,
    )
  })

  test("the configs of its README", async () => {
    written(
      "hub/README.md",
      "---\nconfigs:\n- config_name: main\n  default: true\n  data_files:\n  - split: train\n    path: main/train-*.jsonl\n" +
        "- config_name: other\n  data_files: other.jsonl\n- config_name: out\n  data_files: ../*.jsonl\n---\n# Rows\n",
    )
    written("hub/main/train-0.jsonl", a)
    written("hub/other.jsonl", b)
    const hub = join(folder, "hub")
    expect(await rowsOf(hub)).toEqual([[1, A]])
    expect(await rowsOf(hub, { name: "other" })).toEqual([[1, B]])
    await expect(rowsOf(hub, { name: "othre" })).rejects.toThrow(
      /no config "othre"; did you mean "other"\?/,
    )
    await expect(rowsOf(hub, { split: "test" })).rejects.toThrow(
      /config "main" has no split "test" \(train\)/,
    )
    await expect(rowsOf(hub, { name: "out" })).rejects.toThrow(/leaves the folder/)
  })
})

test.each([
  ["hf://datasets/openai/gsm8k/train.parquet", /write the data set's id, openai\/gsm8k/],
  ["https://huggingface.co/datasets/a/b/resolve/main/x.jsonl", /write the data set's id, a\/b/],
  ["https://example.org/x.jsonl", /addresses are not read; download the file/],
  ["~/no-such-rows.jsonl", /no such file/],
  ["a.jsonl,b.jsonl", /of several files make a list: \[a.jsonl, b.jsonl\]/],
])("the path %s is answered with the way to write it", async (path, expected) => {
  await expect(rowsOf(path)).rejects.toThrow(expected)
  expect(await rowsOf(`file://${written("named.jsonl", a)}`)).toEqual([[1, A]])
})
