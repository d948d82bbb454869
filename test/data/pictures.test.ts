import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { deflateSync } from "node:zlib"
import { expect, test } from "vitest"
import { heldOut } from "../../src/data/held-out.ts"
import { pictureReader } from "../../src/data/pictures/picture-files.ts"
import { expansion, pictureProcessor } from "../../src/data/pictures/processors.ts"
import { type PrepareOptions, prepareData } from "../../src/data/prepare.ts"
import { type PreviewExample, previewData } from "../../src/data/preview-rows.ts"
import { loadTokenizer } from "../../src/text/index.ts"

const TYPES = ["qwen2_vl", "qwen2_5_vl", "smolvlm", "idefics3"] as const
const folderOf = (type: string) => resolve("golden/pictures", type)

interface Golden {
  readonly pictures: readonly { width: number; height: number; ids: number[] }[]
  readonly chats: readonly {
    messages: { role: string; content: { type: string; text?: string }[] }[]
    sizes: [number, number][]
    ids: number[]
  }[]
}

const goldenOf = (type: string) =>
  JSON.parse(readFileSync(join(folderOf(type), "pictures.json"), "utf8")) as Golden

/**
 * A PNG without checksums that anybody looks at here; `shade` makes another picture of one size.
 */
function png(width: number, height: number, shade = 0): Uint8Array {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header.set([8, 0], 8)
  const chunk = (name: string, data: Uint8Array) => {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(data.length)
    return Buffer.concat([length, Buffer.from(name), data, Buffer.alloc(4)])
  }
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10])
  const data = deflateSync(Buffer.alloc(64, shade))
  return Buffer.concat([signature, chunk("IHDR", header), chunk("IDAT", data)])
}

function folderWith(files: Readonly<Record<string, Uint8Array>>): string {
  const folder = mkdtempSync(join(tmpdir(), "pictures-"))
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(folder, name), bytes)
  return folder
}

async function optionsFor(type: string, folder: string, rows: readonly unknown[]) {
  const path = join(folder, "rows.jsonl")
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""))
  return {
    tokenizer: folderOf(type),
    sources: [{ path, weight: 1 }],
    pictures: await pictureProcessor(folderOf(type)),
    cache: join(folder, "cache"),
  } satisfies PrepareOptions
}

async function shown(
  type: string,
  folder: string,
  rows: readonly unknown[],
  more: Partial<PrepareOptions> = {},
): Promise<PreviewExample[]> {
  const examples: PreviewExample[] = []
  await previewData({
    ...(await optionsFor(type, folder, rows)),
    ...more,
    examples: rows.length,
    scan: rows.length,
    show: (example) => void examples.push(example),
  })
  return examples
}

const cat = () => folderWith({ "cat.png": png(20, 28), "dog.png": png(12, 4) })
const said = { role: "assistant", content: "a cat" }
const ask = (...content: unknown[]) => ({ messages: [{ role: "user", content }, said] })
const refusal = (folder: string, row: unknown, more = {}) =>
  shown("qwen2_5_vl", folder, [row], more).then(
    () => "was read",
    (error: Error) => error.message,
  )

test.each(TYPES)(
  "%s: a picture of any size is the tokens of Transformers' processor",
  async (type) => {
    const processor = (await pictureProcessor(folderOf(type)))!
    const tokenizer = await loadTokenizer(folderOf(type))
    const token = tokenizer.tokenText(processor.imageTokenId)
    for (const { width, height, ids } of goldenOf(type).pictures)
      expect(tokenizer.encode(expansion(processor, { width, height }, token))).toEqual(ids)
  },
)

test.each(TYPES)(
  "%s: chats with pictures are Transformers' ids, and only answers are trained",
  async (type) => {
    for (const { messages, sizes, ids } of goldenOf(type).chats) {
      const names = sizes.map((_, i) => `${i}.png`)
      const folder = folderWith(
        Object.fromEntries(sizes.map(([w, h], i) => [names[i]!, png(w, h)])),
      )
      const [example] = await shown(type, folder, [{ messages, images: names }])
      expect(example!.token_ids).toEqual(ids)
      const learned = example!.token_ids.filter((_, t) => example!.loss_mask[t] === 1)
      const trained = (await loadTokenizer(folderOf(type))).decode(learned)
      const answers = messages.filter(({ role }) => role === "assistant")
      const said = answers.map(({ content }) => content.map(({ text }) => text).join(""))
      const end = type.startsWith("qwen") ? "<|im_end|>" : "<end_of_utterance>"
      expect(trained).toBe(said.map((text) => `${text}${end}`).join(""))
      const sized = example!.pictures!.map(({ width, height }) => [width, height])
      expect(sized).toEqual(sizes)
      for (const { at, tokens } of example!.pictures!)
        expect(example!.loss_mask.slice(at, at + tokens)).toEqual(new Array(tokens).fill(0))
      expect(example!.warnings).toEqual([])
    }
  },
)

const data = `data:image/png;base64,${Buffer.from(png(20, 28)).toString("base64")}`

test.each<[string, object]>([
  ["a part's path", ask({ type: "image", image: "cat.png" }, "what?")],
  ["OpenAI's data URL", ask({ type: "image_url", image_url: { url: data } }, "what?")],
  ["a part with a path key", ask({ type: "image", path: "cat.png", text: null }, "what?")],
  ["the row's list", { ...ask({ type: "image" }, "what?"), images: ["cat.png"] }],
  ["a mark in the text", { ...ask("<image>what?"), images: ["cat.png"] }],
  ["no place", { ...ask("what?"), image: "cat.png" }],
  ["a question", { question: "what?", answer: "a cat", image: { bytes: null, path: "cat.png" } }],
])("%s is the same picture in the same place", async (_name, row) => {
  const folder = cat()
  const [plain] = await shown("qwen2_5_vl", folder, [
    ask({ type: "image", image: "cat.png" }, "what?"),
  ])
  const [example] = await shown("qwen2_5_vl", folder, [row])
  expect(example!.token_ids).toEqual(plain!.token_ids)
  expect(example!.loss_mask).toEqual(plain!.loss_mask)
})

const answer = (content: string) => [{ role: "assistant", content }]
const about = (...content: unknown[]) => ({ role: "user", content })
const cats = [about({ type: "image", path: "cat.png" }, "what?")]

test.each<[string, object]>([
  ["messages", { prompt: cats }],
  ["TRL's columns", { images: ["cat.png"], prompt: [about({ type: "image" }, "what?")] }],
  ["whole chats", { prefix: cats }],
  ["a question and its answers", { images: ["cat.png"], question: "what?" }],
])(
  "the sides of a pair share the pictures of its prompt: %s",
  async (name, { prefix = [], ...row }: { prefix?: unknown[] }) => {
    const isText = name.startsWith("a question")
    const [chosen, rejected] = ["a cat", "a dog, surely"].map((text) =>
      isText ? text : [...prefix, ...answer(text)],
    )
    const folder = cat()
    const more = { purpose: "preference" } as const
    const sides = await shown("qwen2_5_vl", folder, [{ ...row, chosen, rejected }], more)
    const [plain] = await shown("qwen2_5_vl", folder, [
      ask({ type: "image", path: "cat.png" }, "what?"),
    ])
    expect(sides.map(({ side }) => side)).toEqual(["chosen", "rejected"])
    expect(sides[0]!.token_ids).toEqual(plain!.token_ids)
    for (const { pictures } of sides) expect(pictures).toEqual(plain!.pictures)
    const options = await optionsFor("qwen2_5_vl", folder, [{ ...row, chosen, rejected }])
    const prepared = await prepareData({ ...options, ...more })
    const told = readFileSync(join(prepared.dir, "pictures.jsonl"), "utf8").trim().split("\n")
    expect(told.map((line) => JSON.parse(line).pictures.length)).toEqual([1])
  },
)

test("a labelled answer has the pictures of its prompt", async () => {
  const row = { prompt: cats, completion: answer("a cat"), label: false }
  const [example] = await shown("smolvlm", cat(), [row], { purpose: "labels" })
  expect(example!.pictures).toHaveLength(1)
  expect(example!.loss_mask).toContain(1)
})

test("pictures that the sides of a pair do not share are refused", async () => {
  const [one, other] = ["cat.png", "dog.png"].map((path) => [
    about({ type: "image", path }, "what?"),
    ...answer(path),
  ])
  const row = { chosen: one, rejected: other }
  expect(await refusal(cat(), row, { purpose: "preference" })).toMatch(/which both sides share/)
  const plain = { prompt: "q", chosen: "a", rejected: "b", images: ["cat.png"] }
  expect(await refusal(cat(), plain, { purpose: "preference" })).toMatch(/plain text/)
})

test.each<[string, RegExp, object]>([
  ["an address", /nothing is fetched/, ask({ type: "image", url: "https://x.org/cat.png" })],
  ["a file address", /nothing is fetched/, ask({ type: "image", url: "file:///etc/passwd" })],
  ["a path out of the folder", /leads out of/, ask({ type: "image", path: "../cat.png" })],
  ["an absolute path", /leads out of/, ask({ type: "image", path: "/etc/passwd" })],
  ["a missing file", /no such file/, ask({ type: "image", path: "cow.png" })],
  ["no picture", /no picture of a known kind/, ask({ type: "image", path: "rows.jsonl" })],
  ["more places", /1 pictures and 2 places/, { ...ask("<image> <image>"), images: ["cat.png"] }],
  [
    "more pictures",
    /2 pictures and 1 places/,
    { ...ask({ type: "image" }), images: ["cat.png", "dog.png"] },
  ],
  ["both", /besides/, { ...ask({ type: "image", path: "cat.png" }), images: ["dog.png"] }],
  [
    "an answer's picture",
    /got one in an answer/,
    {
      messages: [
        { role: "user", content: "draw" },
        { role: "assistant", content: [{ type: "image", path: "cat.png" }] },
      ],
    },
  ],
  ["the placeholder in a text", /own text may hold the placeholder/, ask("<|image_pad|>")],
  ["a video", /a video or sound/, { ...ask("q"), videos: ["a.mp4"] }],
  [
    "a message's own list",
    /messages\[0\]\.images/,
    { messages: [{ role: "user", content: "q", images: ["cat.png"] }, said] },
  ],
  ["plain text", /plain text/, { prompt: "q", completion: "a", images: ["cat.png"] }],
])("refused: %s", async (_name, message, row) => {
  expect(await refusal(cat(), row)).toMatch(message)
})

test("a link that leads out of the folder is refused, one that stays inside is read", async () => {
  const folder = cat()
  const outside = cat()
  symlinkSync(join(outside, "cat.png"), join(folder, "link.png"))
  symlinkSync(outside, join(folder, "away"))
  symlinkSync(join(folder, "cat.png"), join(folder, "inside.png"))
  for (const path of ["link.png", "away/cat.png"])
    expect(await refusal(folder, ask({ type: "image", path }))).toMatch(/leads out of/)
  expect(await refusal(folder, ask({ type: "image", path: "inside.png" }))).toBe("was read")
})

test("pixels are bounded before anything is decoded", async () => {
  const folder = folderWith({ "bomb.png": png(100_000, 100_000) })
  expect(await refusal(folder, ask({ type: "image", path: "bomb.png" }))).toMatch(/100000x100000/)
})

test("image_max_pixels makes pictures smaller, and what does not fit max_length is a bad row", async () => {
  const folder = folderWith({ "wide.png": png(64, 64) })
  const row = ask({ type: "image", path: "wide.png" }, "q")
  const [whole] = await shown("qwen2_5_vl", folder, [row])
  const [less] = await shown("qwen2_5_vl", folder, [row], { imageMaxPixels: 32 * 32 })
  expect([whole!.pictures![0]!.tokens, less!.pictures![0]!.tokens]).toEqual([64, 16])
  expect(less!.pictures![0]).toMatchObject({ width: 32, height: 32 })
  expect(await refusal(folder, row, { maxLength: 40 })).toMatch(/do not fit data.max_length 40/)
})

test("a prepared row knows its pictures, and another picture under the same name makes it anew", async () => {
  const folder = cat()
  const rows = [
    ask({ type: "image", path: "cat.png" }, "q"),
    ask("plain"),
    ask({ type: "image_url", image_url: data }, "r"),
  ]
  const options = await optionsFor("smolvlm", folder, rows)
  const first = await prepareData(options)
  expect((await prepareData(options)).fromCache).toBe(true)
  const lines = readFileSync(join(first.dir, "pictures.jsonl"), "utf8").trim().split("\n")
  const told = lines.map(
    (line) => JSON.parse(line) as { line: number; pictures: { path: string }[] },
  )
  expect(told.map(({ line }) => line)).toEqual([1, 3])
  expect(readFileSync(told[1]!.pictures[0]!.path)).toEqual(Buffer.from(png(20, 28)))
  writeFileSync(join(folder, "cat.png"), png(20, 28, 9))
  const again = await prepareData(options)
  expect(again.fromCache).toBe(false)
  expect(again.manifest.rows_sha256).not.toBe(first.manifest.rows_sha256)
})

test("a damaged table of pictures is made anew", async () => {
  const folder = cat()
  const options = await optionsFor("smolvlm", folder, [
    ask({ type: "image", path: "cat.png" }, "q"),
  ])
  const table = join((await prepareData(options)).dir, "pictures.jsonl")
  const text = readFileSync(table, "utf8")
  writeFileSync(table, "no JSON\n")
  expect((await prepareData(options)).fromCache).toBe(false)
  expect(readFileSync(table, "utf8")).toBe(text)
})

test("rows held out are the same rows when a picture was only touched, and others with another picture", async () => {
  const folder = folderWith({ "cat.png": png(20, 28) })
  const rows = Array.from({ length: 8 }, (_, i) => ask({ type: "image", path: "cat.png" }, `${i}`))
  const options = await optionsFor("smolvlm", folder, rows)
  const identity = async () => {
    const { train, held } = await heldOut(await prepareData(options), { split: 2, seed: 0 })
    return [train, held].map(({ manifest }) => manifest.rows_sha256)
  }
  const first = await identity()
  utimesSync(join(folder, "cat.png"), 1e9, 1e9)
  expect(await identity()).toEqual(first)
  writeFileSync(join(folder, "cat.png"), png(20, 28, 9))
  expect(await identity()).not.toEqual(first)
})

test("bytes in a Parquet file are pictures", async () => {
  const examples: PreviewExample[] = []
  const { lints } = await previewData({
    tokenizer: folderOf("qwen2_5_vl"),
    sources: [{ path: resolve("golden/pictures/rows.parquet"), weight: 1 }],
    pictures: await pictureProcessor(folderOf("qwen2_5_vl")),
    examples: 2,
    scan: 2,
    show: (example) => void examples.push(example),
  })
  expect(lints.map(({ code }) => code)).toEqual([])
  const [first, second] = examples.map(({ pictures }) => pictures![0]!)
  expect(first).toMatchObject({ width: 20, height: 28, tokens: 8 })
  expect(readFileSync(first!.path).subarray(1, 4).toString()).toBe("PNG")
  expect(second!.path).not.toBe(first!.path)
})

test("rows with different pictures under one text are no duplicates", async () => {
  const folder = folderWith({ "a.png": png(8, 8, 1), "b.png": png(8, 8, 2) })
  const rows = ["a.png", "b.png"].map((path) => ask({ type: "image", path }, "q"))
  const { lints } = await prepareData(await optionsFor("qwen2_5_vl", folder, rows))
  expect(lints.map(({ code }) => code)).not.toContain("duplicate-rows")
})

test("a model without eyes reads no pictures", async () => {
  expect(await pictureProcessor(resolve("golden/models/qwen2"))).toBeUndefined()
  const folder = cat()
  const row = ask({ type: "image", path: "cat.png" })
  await expect(shown("qwen2_5_vl", folder, [row], { pictures: undefined })).rejects.toThrow(
    /engine: torch/,
  )
})

test("a picture's token must be one of the tokenizer's added tokens", async () => {
  mkdirSync(join(tmpdir(), "pictures-none"), { recursive: true })
  const processor = (await pictureProcessor(folderOf("qwen2_5_vl")))!
  const tokenizer = await loadTokenizer(folderOf("qwen2_5_vl"))
  const settings = {
    processor: { ...processor, imageTokenId: 65 },
    maxPixels: null,
    store: tmpdir(),
  }
  expect(() => pictureReader(settings, tokenizer)).toThrow(/no added token/)
})
