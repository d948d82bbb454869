import { readdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { expect, test } from "vitest"
import type { Lint } from "../../src/data/lints.ts"
import { type PrepareOptions, prepareData } from "../../src/data/prepare.ts"
import { previewData } from "../../src/data/preview-rows.ts"
import { newFolder, rowFile, tinyModel } from "./tiny-model.ts"

const model = tinyModel()
const row = (i: number) => ({ prompt: `question ${i}`, completion: `answer ${i}` })

function options(more: Partial<PrepareOptions>): PrepareOptions {
  return { sources: [], tokenizer: model, cache: newFolder(), workers: 0, ...more }
}

/** Of preparing, which preview must say as well. */
async function lintsOf(given: PrepareOptions): Promise<readonly Lint[]> {
  const { lints } = await prepareData(given)
  const shown = await previewData({ ...given, examples: 0, scan: 1e6, show: () => {} })
  expect(shown.lints).toEqual(lints)
  return lints
}

test("a file without rows is named, beside others that have some", async () => {
  const empty = rowFile([])
  const sources = [empty, rowFile([row(1)])].map((path) => ({ path, weight: 1 }))
  const lints = await lintsOf(options({ sources }))
  expect(lints).toMatchObject([{ code: "empty-source", count: 1, examples: [empty] }])
})

test("files that max_rows did not come to are not called empty", async () => {
  const folder = newFolder()
  for (const name of ["a", "b"]) {
    writeFileSync(join(folder, `${name}.jsonl`), `${JSON.stringify(row(1))}\n`)
  }
  const sources = [{ path: join(folder, "*.jsonl"), weight: 1, max_rows: 1 }]
  expect(await lintsOf(options({ sources }))).toEqual([])
})

test("an answer that says nothing is noticed; one that only calls a tool says something", async () => {
  const template =
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.name }}{% endfor %}<|im_end|>\n{% endfor %}"
  const answered = (answer: object) => ({
    messages: [
      { role: "user", content: "q" },
      { role: "assistant", ...answer },
    ],
  })
  const path = rowFile([
    answered({ content: "a" }),
    answered({ content: null }),
    answered({ content: "", tool_calls: [{ name: "weather" }] }),
    { prompt: "q", completion: "" },
  ])
  const tokenizer = tinyModel({ template, eos: "<|im_end|>" })
  const lints = await lintsOf(options({ sources: [{ path, weight: 1 }], tokenizer }))
  expect(lints).toMatchObject([
    { code: "empty-answer", count: 2, examples: [`${path}:2`, `${path}:4`] },
  ])
})

test("a tool call is content, not template: it has class 0", async () => {
  const template =
    "{% for m in messages %}<|im_start|>{{ m.role }}:{{ m.content }}{% for c in m.tool_calls or [] %}{{ c.name }}{% endfor %}<|im_end|>{% endfor %}"
  const messages = [
    { role: "user", content: "q" },
    { role: "assistant", content: null, tool_calls: [{ name: "ab" }] },
  ]
  const shown: (readonly number[])[] = []
  await previewData({
    sources: [{ path: rowFile([{ messages }]), weight: 1 }],
    tokenizer: tinyModel({ template }),
    examples: 1,
    scan: 1,
    show: ({ loss_mask, token_class }) => void shown.push(loss_mask, token_class),
  })
  expect(shown[0]!.slice(-3)).toEqual([1, 1, 1])
  expect(shown[1]!.slice(-3)).toEqual([0, 0, 1])
})

test("weights that leave no row are an error with the files, not an empty run", async () => {
  const [a, b] = [rowFile([row(1)]), rowFile([row(2)])]
  const cache = newFolder()
  const none = [
    { path: a, weight: 0 },
    { path: b, weight: 0.4 },
  ]
  await expect(prepareData(options({ sources: none, cache }))).rejects.toThrow(
    `nothing to train: with these weights an epoch has no row (${a}: 1 rows, weight 0; ${b}: 1 rows, weight 0.4)`,
  )
  expect(readdirSync(cache)).toEqual([])
})

test("one file named twice is two sources with their own weights", async () => {
  const path = rowFile([row(1), row(2)])
  const sources = [
    { path, weight: 1 },
    { path, weight: 3, max_rows: 1 },
  ]
  const { manifest, lints } = await prepareData(options({ sources }))
  expect(manifest.sources).toMatchObject([
    { path, rows: 2, weight: 1 },
    { path, rows: 1, weight: 3 },
  ])
  expect(lints).toMatchObject([{ code: "duplicate-rows", count: 1, examples: [`${path}:1`] }])
})

test("stopped in the middle, nothing is left, and the next run makes what an unstopped one makes", async () => {
  const many = Array.from({ length: 4000 }, (_, i) => row(i))
  const sources = [{ path: rowFile(many), weight: 1 }]
  for (const workers of [0, 1]) {
    const cache = newFolder()
    const stop = new AbortController()
    const stopped = prepareData(
      options({ sources, cache, workers, signal: stop.signal, onProgress: () => stop.abort() }),
    )
    await expect(stopped).rejects.toThrow(/abort/i)
    expect(readdirSync(cache)).toEqual([])
    const again = await prepareData(options({ sources, cache, workers }))
    const unstopped = await prepareData(options({ sources, workers }))
    expect(again.manifest).toEqual(unstopped.manifest)
    expect(again.manifest.rows).toBe(4000)
  }
})
