import { expect, test } from "vitest"
import { readPrompt } from "../../src/data/rows/index.ts"
import { previewed } from "./previewed.ts"

const said = { role: "assistant", content: "a cat" }
const asked = { role: "user", content: "what is it?" }
const png = new Uint8Array([0x89, 0x50])

test.each<[string, string, object]>([
  ["a column of paths", "images", { messages: [asked, said], images: ["cat.png"] }],
  ["one path", "image", { prompt: "q", completion: "a", image: "cat.png" }],
  ["an address", "image_url", { question: "q", answer: "a", image_url: "https://x/cat.png" }],
  ["a file of a data set", "photo", { text: "a cat", photo: { bytes: png, path: null } }],
  ["files of a data set", "shots", { text: "a cat", shots: [{ bytes: null, path: "a.png" }] }],
  ["a video", "videos", { instruction: "i", output: "o", videos: ["a.mp4"] }],
  ["a message's key", "messages[0].images", { messages: [{ ...asked, images: ["a"] }, said] }],
  [
    "a part",
    "messages[0].content[0].image_url",
    {
      messages: [
        { role: "user", content: [{ type: "image_url", image_url: { url: "data:image/png,x" } }] },
        said,
      ],
    },
  ],
  [
    "JSON text",
    "conversations[0].image",
    { conversations: JSON.stringify([{ ...asked, image: "a.png" }, said]) },
  ],
  [
    "turns of two",
    "conversation[0].image",
    { conversation: [{ input: "q", output: "a", image: "a.png" }] },
  ],
])("a row with a picture is never trained as text: %s", async (_name, key, row) => {
  await expect(previewed([row])).rejects.toThrow(`rows.jsonl:1: "${key}" holds a picture`)
  expect(() => readPrompt(row as Record<string, unknown>, { where: "rows.jsonl:1" })).toThrow(key)
})

test("a pair with a picture is refused", async () => {
  const row = { prompt: "q", chosen: "a", rejected: "b", images: ["cat.png"] }
  await expect(previewed([row], { purpose: "preference" })).rejects.toThrow('"images" holds')
})

test("a bare image part is refused", async () => {
  const row = { messages: [{ role: "user", content: [{ type: "image" }, "what?"] }, said] }
  await expect(previewed([row])).rejects.toThrow('content[0].type" holds a picture')
})

test("empty keys are no pictures, nor are a tool's words, nor text that begins like a list", async () => {
  const rows = [
    { messages: [{ ...asked, images: [] }, said], images: null, audio: "" },
    { messages: [{ role: "user", content: [{ type: "text", text: "q", image: null }] }, said] },
    { prompt: "[an unfinished list", completion: "a", images: [null] },
  ]
  expect((await previewed(rows)).marked).toHaveLength(3)
})

test("columns: images: null trains the text alone", async () => {
  const row = { prompt: "q", completion: "a", image: "cat.png" }
  const { marked } = await previewed([row], { columns: { images: null } })
  expect(marked).toHaveLength(1)
})
