import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { expect, test } from "vitest"
import { type PrepareOptions, prepareData } from "../../src/data/prepare.ts"
import { openPrepared } from "../../src/data/prepared.ts"
import { InputError } from "../../src/errors.ts"
import { newFolder, rowFile, SPECIAL, tinyModel } from "./tiny-model.ts"

const model = tinyModel({ addsBos: true })
const bytes = (text: string) => [...Buffer.from(text)]
const rows = [{ prompt: "ab", completion: "cde" }, { prompt: "é", completion: "f" }, { text: "gh" }]

function options(more: Partial<PrepareOptions> = {}): PrepareOptions {
  return {
    sources: [{ path: rowFile(rows), weight: 1 }],
    tokenizer: model,
    cache: newFolder(),
    workers: 0,
    ...more,
  }
}

test("plain rows: BOS, prompt, completion on its own, EOS; completion and EOS are trained", async () => {
  const { dir, manifest } = await prepareData(options())
  expect(manifest).toMatchObject({
    version: 2,
    rows: 3,
    tokens: 16,
    supervised_tokens: 4 + 2 + 3,
    lints: [],
  })
  const prepared = await openPrepared(dir)
  const plain = (i: number) => {
    const { tokenIds, lossMask, tokenClass, line } = prepared.row(i)
    return { tokenIds: [...tokenIds], lossMask: [...lossMask], tokenClass: [...tokenClass], line }
  }
  expect(plain(0)).toEqual({
    tokenIds: [SPECIAL.bos, ...bytes("abcde"), SPECIAL.eos],
    lossMask: [0, 0, 0, 1, 1, 1, 1],
    tokenClass: [2, 0, 0, 0, 0, 0, 1],
    line: 1,
  })
  expect(plain(1)).toMatchObject({ lossMask: [0, 0, 0, 1, 1], line: 2 })
  expect(plain(2)).toMatchObject({ lossMask: [0, 1, 1, 1], line: 3 })
  expect([...prepared.lengths]).toEqual([7, 5, 4])
  prepared.close()
})

test("without BOS the first token of a text is no target", async () => {
  const { dir } = await prepareData(options({ tokenizer: tinyModel() }))
  const prepared = await openPrepared(dir)
  expect([...prepared.row(2).lossMask]).toEqual([0, 1, 1])
  prepared.close()
})

test("supervise: all trains the prompt too", async () => {
  const { manifest } = await prepareData(options({ supervise: "all" }))
  expect(manifest.supervised_tokens).toBe(manifest.tokens - manifest.rows)
})

test("truncation is on the right; rows left without a target are dropped and counted, lost EOS is said", async () => {
  const sources = [{ path: rowFile([...rows, { prompt: "abcdefgh", completion: "x" }]), weight: 1 }]
  const { manifest, lints } = await prepareData(options({ sources, maxLength: 5 }))
  expect(manifest.sources[0]).toMatchObject({ rows: 3, dropped: 1, truncated: 2 })
  expect(lints.map(({ code, count }) => [code, count])).toEqual([
    ["dropped-rows", 1],
    ["truncated-eos", 1],
  ])
  expect(lints[1]!.examples).toEqual([`${sources[0]!.path}:1`])
})

test("nothing to train is an error that says why", async () => {
  const cache = newFolder()
  const sources = [{ path: rowFile([{ prompt: "abcdefgh", completion: "x" }]), weight: 1 }]
  const failing = prepareData(options({ sources, cache, maxLength: 4 }))
  await expect(failing).rejects.toThrow(
    /nothing to train: none of 1 row has a supervised token.*rows.jsonl:1/,
  )
  await expect(
    prepareData(options({ sources: [{ path: rowFile([]), weight: 1 }] })),
  ).rejects.toThrow(/no rows were found/)
  expect(readdirSync(cache)).toEqual([])
})

test("a bad row is named and stops the run, or is skipped and counted", async () => {
  const path = rowFile([])
  writeFileSync(
    path,
    '{"text":"a"}\n{"text":\n{"txt":"b"}\n{"text":"\xff"}\n{"text":"c"}\n',
    "latin1",
  )
  const sources = [{ path, weight: 1 }]
  for (const workers of [0, 2]) {
    await expect(prepareData(options({ sources, workers }))).rejects.toThrow(
      `${path}:2: expected a JSON object on this line; the line ends too early`,
    )
  }
  const { manifest, lints } = await prepareData(options({ sources, onBadRow: "skip" }))
  expect(manifest.sources[0]).toMatchObject({ rows: 2, bad: 3 })
  expect(lints).toMatchObject([
    { code: "bad-rows", count: 3, examples: [2, 3, 4].map((line) => `${path}:${line}`) },
  ])
})

test("duplicates are counted, with the place of the copies", async () => {
  const path = rowFile([...rows, ...rows, rows[0]])
  const { lints } = await prepareData(options({ sources: [{ path, weight: 1 }] }))
  expect(lints).toMatchObject([
    { code: "duplicate-rows", count: 4, examples: [4, 5, 6, 7].map((line) => `${path}:${line}`) },
  ])
})

test("a doubled BOS and an EOS that the model does not know are noticed", async () => {
  const path = rowFile([{ text: "<bos>a" }])
  const { lints } = await prepareData(options({ sources: [{ path, weight: 1 }] }))
  expect(lints.map(({ code }) => code)).toEqual(["double-bos"])
})

test("preference rows have two sides over one prompt", async () => {
  const sources = [{ path: rowFile([{ prompt: "ab", chosen: "c", rejected: "de" }]), weight: 1 }]
  const { dir, manifest } = await prepareData(options({ sources, purpose: "preference" }))
  expect(manifest).toMatchObject({ rows: 1, tokens: 11, supervised_tokens: 5 })
  const prepared = await openPrepared(dir)
  const { chosen, rejected } = prepared.pair(0)
  expect([...chosen.tokenIds]).toEqual([SPECIAL.bos, ...bytes("abc"), SPECIAL.eos])
  expect([...rejected.lossMask]).toEqual([0, 0, 0, 1, 1, 1])
  expect([...prepared.lengths]).toEqual([11])
  prepared.close()
})

/** Everything that is in a prepared folder. */
function contents(dir: string): string[] {
  return readdirSync(dir)
    .sort()
    .map((file) => `${file} ${readFileSync(join(dir, file)).toString("base64")}`)
}

test("the result is the same with 0, 1 and 4 workers", async () => {
  const words = "the quick brown fox jumps over a lazy dog ".split(" ")
  const many = Array.from({ length: 5000 }, (_, i) =>
    i % 700 === 3
      ? { nothing: i }
      : {
          prompt: `${words[i % 9]} ${i % 977}`,
          completion: `${words[(i * 7) % 9]} é${i}`.repeat(1 + (i % 40)),
        },
  )
  const sources = [
    { path: rowFile(many), weight: 1 },
    { path: rowFile(rows), weight: 2 },
  ]
  const results: string[][] = []
  for (const workers of [0, 1, 4]) {
    const { dir } = await prepareData(
      options({ sources, workers, onBadRow: "skip", maxLength: 200 }),
    )
    results.push(contents(dir))
  }
  expect(results[1]).toEqual(results[0])
  expect(results[2]).toEqual(results[0])
})

test("prepared once: the second time it is there; two at once do not hurt each other", async () => {
  const shared = options()
  const both = await Promise.all([prepareData(shared), prepareData(shared)])
  expect(both.map(({ dir }) => dir)).toEqual([both[0]!.dir, both[0]!.dir])
  const again = await prepareData(shared)
  expect(again).toMatchObject({ fromCache: true, manifest: both[0]!.manifest })
  expect(readdirSync(shared.cache!)).toEqual([both[0]!.manifest.key])
})

test("the key changes with anything that matters, and with nothing else", async () => {
  const path = rowFile(rows)
  const base: Partial<PrepareOptions> = { sources: [{ path, weight: 1 }] }
  const keyOf = async (more: Partial<PrepareOptions>) =>
    (await prepareData(options({ ...base, ...more }))).manifest.key
  const first = await keyOf({})
  expect(await keyOf({ workers: 2 })).toBe(first)

  const template = join(newFolder(), "t.jinja")
  writeFileSync(template, "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}")
  const otherModel = tinyModel({ addsBos: false })
  const stops = tinyModel({ addsBos: true })
  writeFileSync(join(stops, "generation_config.json"), '{"eos_token_id": [257, 259]}')
  const weights = tinyModel({ addsBos: true })
  writeFileSync(join(weights, "config.json"), '{"hidden_size": 64}')
  expect(await keyOf({ tokenizer: weights })).toBe(first)

  const variants: Partial<PrepareOptions>[] = [
    { maxLength: 9 },
    { supervise: "all" },
    { onBadRow: "skip" },
    { template: true },
    { template },
    { tokenizer: otherModel },
    { tokenizer: stops },
    { sources: [{ path, weight: 2 }] },
    { sources: [{ path, weight: 1, max_rows: 2 }] },
    { sources: [{ path, weight: 1, max_rows: 2, shuffle_seed: 1 }] },
    { sources: [{ path: rowFile([rows[2], rows[1]]), weight: 1 }] },
  ]
  const keys = [first]
  for (const variant of variants) keys.push(await keyOf(variant))
  writeFileSync(path, `${readFileSync(path, "utf8")}{"text":"more"}\n`)
  keys.push(await keyOf({}))
  expect(new Set(keys).size).toBe(keys.length)
})

test("an abort leaves nothing behind", async () => {
  const cache = newFolder()
  const signal = AbortSignal.abort()
  await expect(prepareData(options({ cache, signal }))).rejects.toThrow(/abort/i)
  expect(readdirSync(cache)).toEqual([])
})

test("a damaged prepared folder is no folder of rows", async () => {
  const { dir } = await prepareData(options())
  const shard = join(dir, "shard-00000.safetensors")
  const sound = readFileSync(shard)
  writeFileSync(shard, sound.subarray(0, sound.length - 3))
  await expect(openPrepared(dir)).rejects.toThrow(InputError)
  const manifest = join(dir, "manifest.json")
  const text = readFileSync(manifest, "utf8")
  writeFileSync(manifest, text.replace('"version": 2', '"version": 99'))
  await expect(openPrepared(dir)).rejects.toThrow(/expected version 2, got 99/)
  writeFileSync(manifest, text.replace("shard-00000", "../../../etc/passwd"))
  await expect(openPrepared(dir)).rejects.toThrow(/damaged/)
})

const flipped = (bytes: Buffer, at: number): Buffer => {
  const other = Buffer.from(bytes)
  other[at]! ^= 1
  return other
}

test.each<[string, (file: (name: string) => string) => void]>([
  ["one bit of a token id", (file) => damage(file("shard-00000.safetensors"), -40)],
  ["the end of a shard", (file) => truncate(file("shard-00000.safetensors"))],
  ["a shard that is gone", (file) => rmSync(file("shard-00000.safetensors"))],
  ["a manifest that is cut off", (file) => truncate(file("manifest.json"))],
  ["a manifest without shards", (file) => rewrite(file("manifest.json"), { shards: [] })],
  ["another folder's manifest", (file) => rewrite(file("manifest.json"), { key: "0".repeat(64) })],
  ["another version", (file) => rewrite(file("manifest.json"), { version: 99 })],
  ["one bit of the hashes", (file) => damage(file("hashes.safetensors"), -3)],
  ["hashes that are gone", (file) => rmSync(file("hashes.safetensors"))],
])("a cache with %s is made anew, and that is said", async (_, harm) => {
  const shared = options()
  const first = await prepareData(shared)
  harm((name) => join(first.dir, name))
  const again = await prepareData(shared)
  expect(again.fromCache).toBe(false)
  expect(again.lints).toMatchObject([{ code: "damaged-cache", severity: "warning" }])
  expect(again.lints[0]!.message).toContain(first.dir)
  expect(again.manifest).toEqual(first.manifest)
  expect((await prepareData(shared)).lints).toEqual(first.lints)
})

function damage(path: string, at: number): void {
  const bytes = readFileSync(path)
  writeFileSync(path, flipped(bytes, bytes.length + at))
}
const truncate = (path: string) => writeFileSync(path, readFileSync(path).subarray(0, -3))
function rewrite(path: string, change: object): void {
  const manifest = JSON.parse(readFileSync(path, "utf8")) as object
  writeFileSync(path, JSON.stringify({ ...manifest, ...change }))
}

test("rows that hold anything at all end in rows or in an InputError with file and line", async () => {
  const lines = [
    '{"text": 3}',
    "[]",
    "null",
    '{"text":"\\ud800"}',
    '{"messages":[{}]}',
    "\u0000",
    "{}",
    '"x"',
    `{"text":"${"y".repeat(3e5)}"}`,
  ]
  for (const line of lines) {
    const path = rowFile([])
    writeFileSync(path, `{"text":"ok"}\n${line}\n`)
    const result = await prepareData(options({ sources: [{ path, weight: 1 }] })).catch(
      (error: unknown) => error,
    )
    if (line.length > 1000) expect(result).toMatchObject({ manifest: { rows: 2 } })
    else {
      expect(result).toBeInstanceOf(InputError)
      expect((result as Error).message).toContain(`${path}:2: `)
    }
  }
})
