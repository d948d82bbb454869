import { execFileSync } from "node:child_process"
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, test } from "vitest"
import { fileBytes } from "../../src/data/text-lines.ts"
import { openSafetensors, parseJson, readJsonFile } from "../../src/formats/index.ts"
import { readModelConfig } from "../../src/models/files/index.ts"
import { loadTokenizer } from "../../src/text/index.ts"
import { tinyModel } from "../train/tiny-model.ts"

const newFolder = () => mkdtempSync(join(tmpdir(), "dftune-bounds-"))

/** A zstd frame of `blocks` blocks of four bytes, each of which stands for 128 kB of spaces. */
function zstdBomb(blocks: number): Buffer {
  const size = 128 * 1024
  const head = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38])
  const body = Buffer.alloc(4 * blocks, 0x20)
  for (let i = 0; i < blocks; i++) {
    body.writeUIntLE((size << 3) | (1 << 1) | (i === blocks - 1 ? 1 : 0), 4 * i, 3)
  }
  return Buffer.concat([head, body])
}

test("a zstd file of 24 kB that unpacks to 786 MB goes by in small pieces", async () => {
  const path = join(newFolder(), "bomb.jsonl.zst")
  const bomb = zstdBomb(6000)
  writeFileSync(path, bomb)
  const before = process.memoryUsage().rss
  let [bytes, most] = [0, 0]
  for await (const piece of fileBytes(path, bomb.length)) {
    bytes += piece.bytes.length
    most = Math.max(most, process.memoryUsage().rss - before)
  }
  expect(bytes).toBe(6000 * 128 * 1024)
  expect(most).toBeLessThan(450e6)
})

test("JSON that nests too deep is refused before it is parsed; brackets in texts are none", () => {
  const deep = `{"a":${"[".repeat(100_000)}${"]".repeat(100_000)}}`
  expect(() => parseJson(deep, "x.json")).toThrow(/x\.json: expected JSON that nests at most 512/)
  expect(() => parseJson("[".repeat(3_000_000), "x.json")).toThrow(/nests at most 512/)
  const text = JSON.stringify({ a: `${"[".repeat(5000)}\\" \\\\`, b: [[["x"]]] })
  expect(parseJson(text, "x.json")).toEqual(JSON.parse(text))
  expect(() => parseJson(`{"a":"${"[".repeat(5000)}`, "x.json")).toThrow(/expected JSON, got/)
})

test("a safetensors header of a megabyte of brackets is refused", async () => {
  const path = join(newFolder(), "m.safetensors")
  const header = Buffer.from("[".repeat(1_000_000))
  const length = Buffer.alloc(8)
  length.writeBigUInt64LE(BigInt(header.length))
  writeFileSync(path, Buffer.concat([length, header]))
  await expect(openSafetensors(path)).rejects.toThrow(/nests at most 512/)
})

test("sixteen million layers are refused by the config alone", async () => {
  const model = tinyModel(newFolder())
  const path = join(model, "config.json")
  const config = JSON.parse(readFileSync(path, "utf8")) as object
  writeFileSync(path, JSON.stringify({ ...config, num_hidden_layers: 16_000_000 }))
  await expect(readModelConfig(model)).rejects.toThrow(/num_hidden_layers.*from 1 to 4096/)
})

test.each(["(x+x+)+y", "(a|a)*b", "(\\s*\\s*)*z", "([0-9]+)*$"])(
  "a tokenizer's expression that backtracks for ever is refused: %s",
  async (Regex) => {
    const model = tinyModel(newFolder())
    const path = join(model, "tokenizer.json")
    const tokenizer = JSON.parse(readFileSync(path, "utf8")) as object
    const pre_tokenizer = { type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false }
    writeFileSync(path, JSON.stringify({ ...tokenizer, pre_tokenizer }))
    await expect(loadTokenizer(model)).rejects.toThrow(/takes for ever on short texts/)
  },
)

test("the expressions of published tokenizers are quick", async () => {
  const published = [
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+",
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
  ]
  for (const Regex of published) {
    const model = tinyModel(newFolder())
    const path = join(model, "tokenizer.json")
    const tokenizer = JSON.parse(readFileSync(path, "utf8")) as object
    const pre_tokenizer = { type: "Split", pattern: { Regex }, behavior: "Isolated", invert: false }
    writeFileSync(path, JSON.stringify({ ...tokenizer, pre_tokenizer }))
    expect((await loadTokenizer(model)).vocabSize).toBe(64)
  }
})

test.skipIf(process.platform === "win32")("a pipe or device is no file to read", async () => {
  const path = join(newFolder(), "config.json")
  execFileSync("mkfifo", [path])
  await expect(readJsonFile(path)).rejects.toThrow(/got a device or pipe/)
  await expect(readJsonFile("/dev/zero")).rejects.toThrow(/got a device or pipe/)
  await expect(openSafetensors(path)).rejects.toThrow(/got a device or pipe/)
})
