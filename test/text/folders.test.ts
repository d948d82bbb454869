import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, describe, expect, test } from "vitest"
import { InputError } from "../../src/errors.ts"
import { loadChatTemplate, loadTokenizer } from "../../src/text/index.ts"
import { fc } from "../seeded-check.ts"

const root = mkdtempSync(join(tmpdir(), "dftune-text-"))
afterAll(() => rmSync(root, { recursive: true, force: true }))

function folder(files: Readonly<Record<string, unknown>>): string {
  const path = mkdtempSync(join(root, "model-"))
  for (const [name, value] of Object.entries(files)) {
    writeFileSync(join(path, name), typeof value === "string" ? value : JSON.stringify(value))
  }
  return path
}

const STORIES = fileURLToPath(new URL("../../../shared/data/weights/stories260K/", import.meta.url))
const present = existsSync(STORIES)
if (!present) console.log("absent: ../shared/data/weights; its tokenizer is not tested")

describe.skipIf(!present)("the tokenizer of stories260K", () => {
  interface Reference {
    readonly encode: readonly { readonly text: string; readonly ids: number[] }[]
  }
  const read = (): Reference => JSON.parse(readFileSync(`${STORIES}reference.json`, "utf8"))

  test("gives llama2.c's ids, byte fallback and all", async () => {
    const tokenizer = await loadTokenizer(`${STORIES}hf`)
    const vectors = read().encode
    expect(vectors.length).toBeGreaterThan(0)
    for (const { text, ids } of vectors) {
      expect(tokenizer.encode(text, { addSpecialTokens: true }), text).toEqual(ids)
    }
  })

  test("brings any text back, token by token, and places it", async () => {
    const tokenizer = await loadTokenizer(`${STORIES}hf`)
    fc.assert(
      fc.property(fc.string({ unit: "grapheme", minLength: 1, maxLength: 30 }), (text) => {
        // A text that spells a special token or a byte piece is read as one, as everywhere.
        fc.pre(!/<|▁/.test(text))
        const { ids, ends } = tokenizer.encodeWithOffsets(text)
        const stream = tokenizer.decodeStream()
        expect(ids.map((id) => stream.push(id)).join("") + stream.end()).toBe(text)
        expect(Math.max(...ends)).toBe(text.length)
      }),
    )
  })
})

const TINY = {
  model: { type: "BPE", vocab: { a: 0, b: 1, ab: 2 }, merges: ["a b"] },
  added_tokens: [{ id: 3, content: "<e>", special: true }],
}

test("a small tokenizer without config files works", async () => {
  const tokenizer = await loadTokenizer(folder({ "tokenizer.json": TINY }))
  expect(tokenizer.encode("ab<e>a")).toEqual([2, 3, 0])
  expect(tokenizer.vocabSize).toBe(4)
  expect(tokenizer.eosTokenId).toBeNull()
})

test.each([
  ["nothing", {}],
  ["no JSON", { "tokenizer.json": "{" }],
  ["a list", { "tokenizer.json": [] }],
  ["no model", { "tokenizer.json": {} }],
  ["a vocabulary that is text", { "tokenizer.json": { model: { type: "BPE", vocab: "x" } } }],
  [
    "an id past any bound",
    { "tokenizer.json": { ...TINY, model: { ...TINY.model, vocab: { a: 1e9 } } } },
  ],
  [
    "a merge of one piece",
    { "tokenizer.json": { ...TINY, model: { ...TINY.model, merges: ["ab"] } } },
  ],
  [
    "an added token without id",
    { "tokenizer.json": { ...TINY, added_tokens: [{ content: "x" }] } },
  ],
  ["an unknown normaliser", { "tokenizer.json": { ...TINY, normalizer: { type: "Magic" } } }],
])("a tokenizer folder with %s is refused by name", async (_, files) => {
  const path = folder(files)
  await expect(loadTokenizer(path)).rejects.toThrow(/tokenizer\.json/)
  await expect(loadTokenizer(path)).rejects.toBeInstanceOf(InputError)
})

const chat = [{ role: "user", content: "q" }]

test.each([
  [
    "text in tokenizer_config.json",
    { "tokenizer_config.json": { chat_template: "A{{ eos_token }}", eos_token: { content: "E" } } },
    "AE",
  ],
  [
    "a list with a default",
    {
      "tokenizer_config.json": {
        chat_template: [
          { name: "tool_use", template: "T" },
          { name: "default", template: "D" },
        ],
      },
    },
    "D",
  ],
  [
    "chat_template.jinja before the config",
    { "chat_template.jinja": "J", "tokenizer_config.json": { chat_template: "C" } },
    "J",
  ],
  ["chat_template.json", { "chat_template.json": { chat_template: "S" } }, "S"],
])("a chat template is found as %s", async (_, files, rendered) => {
  const template = await loadChatTemplate(folder(files))
  expect(template?.render(chat)).toBe(rendered)
})

test("no template is null; a damaged one is named", async () => {
  expect(await loadChatTemplate(folder({ "tokenizer_config.json": {} }))).toBeNull()
  const damaged = folder({ "chat_template.jinja": "{% if %}" })
  await expect(loadChatTemplate(damaged)).rejects.toThrow(/chat_template\.jinja/)
  const number = folder({ "tokenizer_config.json": { chat_template: 3 } })
  await expect(loadChatTemplate(number)).rejects.toThrow(/tokenizer_config\.json.*chat_template/)
})
