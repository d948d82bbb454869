import { execFileSync } from "node:child_process"
import { mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { expect, test } from "vitest"
import { loadConfig } from "../../src/config/index.ts"
import { fileBytes } from "../../src/data/text-lines.ts"
import { fileHash, openSafetensors, parseJson, readJsonFile } from "../../src/formats/index.ts"
import { readModelConfig, sideFiles } from "../../src/models/files/index.ts"
import { weightsHash } from "../../src/models/files/weights-hash.ts"
import { parseEvent, readRun, readRunRecord } from "../../src/run/run-folder.ts"
import { lockHolder } from "../../src/run/run-lock.ts"
import { runPlace } from "../../src/run/run-place.ts"
import { readSummary } from "../../src/server/index-file.ts"
import { sizeOf } from "../../src/server/run-lines.ts"
import { readMarks } from "../../src/server/run-marks.ts"
import { loadChatTemplate, loadTokenizer } from "../../src/text/index.ts"
import { checkpointStep, readState } from "../../src/train/checkpoint.ts"
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

/** What a name of a stranger's folder may be in place of a file. */
const NO_FILES: readonly (readonly [string, (path: string) => void])[] = [
  ["a pipe", (path) => execFileSync("mkfifo", [path])],
  ["a link to a device", (path) => symlinkSync("/dev/zero", path)],
]
type Reading = (path: string) => unknown
/** By the name of the file: what reads it, at once or later. */
const READERS: readonly (readonly [string, string, Reading])[] = [
  ["JSON", "config.json", readJsonFile],
  ["weights", "model.safetensors", openSafetensors],
  ["weights by their hash", "model.safetensors", (path) => weightsHash(dirname(path))],
  ["a hash", "vocab.json", (path) => fileHash(path)],
  ["files beside weights", "vocab.json", (path) => sideFiles(dirname(path))],
  [
    "a template for tools",
    "additional_chat_templates/tool_use.jinja",
    (path) => sideFiles(join(path, "../..")),
  ],
  ["a run's events", "events.jsonl", (path) => readRun(dirname(path))],
  ["the end of them", "events.jsonl", (path) => sizeOf(path)],
  ["its record", "config.json", (path) => readRunRecord(dirname(path))],
  ["what it is", "config.json", (path) => runPlace(dirname(path))],
  ["a checkpoint's step", "trainer.json", (path) => checkpointStep(dirname(path))],
  ["a checkpoint's state", "trainer.json", (path) => readState(dirname(path))],
  ["a config", "dftune.yaml", loadConfig],
]

test
  .skipIf(process.platform === "win32")
  .each(
    NO_FILES.flatMap(([kind, make]) => READERS.map((reader) => [kind, make, ...reader] as const)),
  )("%s is not waited for, nor read without end, as $2", async (_kind, make, _what, name, read) => {
  const path = join(newFolder(), name)
  mkdirSync(dirname(path), { recursive: true })
  make(path)
  await expect((async () => read(path))()).rejects.toThrow(
    /got a device or pipe|is a link to \/dev\/zero|holds config\.json|is no file|that is no plain/,
  )
})

test.skipIf(process.platform === "win32").each(NO_FILES)(
  "%s in place of what is made anew is as good as none",
  (_kind, make) => {
    const run = newFolder()
    mkdirSync(join(run, "page"))
    for (const name of ["summary.json", "marks.json"]) make(join(run, "page", name))
    make(join(run, "run.lock"))
    expect(readSummary(run)).toBeUndefined()
    expect(readMarks(run)).toEqual({ tags: [], archived: false })
    expect(lockHolder(run)).toBeUndefined()
  },
)

test("a link beside the weights that leads nowhere is told before a run, not at its end", () => {
  for (const to of ["nowhere", "vocab.json"]) {
    const folder = newFolder()
    symlinkSync(to, join(folder, "vocab.json"))
    expect(() => sideFiles(folder)).toThrow(/vocab\.json: (is a link that leads nowhere|its links)/)
  }
})

test("what nests too deep in a run's folder is refused, or is no event", async () => {
  const run = newFolder()
  const deep = `${"[".repeat(100_000)}${"]".repeat(100_000)}`
  writeFileSync(join(run, "config.json"), `{"config":${deep},"versions":{}}`)
  expect(() => readRunRecord(run)).toThrow(/config\.json: expected JSON that nests at most 512/)
  await expect(loadConfig(join(run, "config.json"))).rejects.toThrow(/nests at most 512/)
  writeFileSync(join(run, "list.json"), "[]")
  const set = { set: ["resume=true"] }
  await expect(loadConfig(join(run, "list.json"), set)).rejects.toThrow(
    /list\.json:1:1: expected keys and values, got a list/,
  )
  writeFileSync(join(run, "trainer.json"), `{"version":1,"progress":${deep}}`)
  await expect(readState(run)).rejects.toThrow(/trainer\.json: expected JSON that nests/)
  expect(parseEvent(`{"type":"x","step":1,"time":"","loss":${deep}}`)).toBeUndefined()
  const bins = (count: number) => JSON.stringify(new Array(count).fill(0))
  const histogram = (count: number) =>
    `{"type":"histogram","step":1,"time":"2026-01-01T00:00:00Z","name":"train","bins":${bins(count)},"small_bins":[0,0,0]}`
  expect([parseEvent(histogram(10))?.type, parseEvent(histogram(1e5))]).toEqual([
    "histogram",
    undefined,
  ])
})

const step = (type: string, more: object) => ({ type, ...more })
test.each<[string, object, RegExp]>([
  [
    "a long beginning",
    { normalizer: step("Prepend", { prepend: "x".repeat(5000) }) },
    /texts to write/,
  ],
  [
    "one that grows",
    {
      normalizer: step("Sequence", {
        normalizers: Array.from({ length: 6 }, () =>
          step("Replace", { pattern: { String: "a" }, content: "aaaa" }),
        ),
      }),
    },
    /"normalizer": expected a growth of each text of at most 64, got 4\.10e\+3 times/,
  ],
  [
    "a decoder that grows",
    { decoder: step("Replace", { pattern: { Regex: "." }, content: "x".repeat(65) }) },
    /"decoder": expected a growth/,
  ],
  [
    "a thousand steps",
    {
      normalizer: step("Sequence", {
        normalizers: Array.from({ length: 1000 }, () => step("NFC", {})),
      }),
    },
    /a number of steps of at most 256, got 1001/,
  ],
])("a tokenizer's %s is refused", async (_, part, reason) => {
  const model = tinyModel(newFolder())
  const path = join(model, "tokenizer.json")
  const tokenizer = JSON.parse(readFileSync(path, "utf8")) as object
  writeFileSync(path, JSON.stringify({ ...tokenizer, ...part }))
  await expect(loadTokenizer(model)).rejects.toThrow(reason)
})

test("what a template says when it refuses is cut short", async () => {
  const model = tinyModel(newFolder())
  const long = "{{ raise_exception('no' * 100000) }}"
  writeFileSync(join(model, "chat_template.jinja"), long)
  const template = await loadChatTemplate(model)
  const refused = () => template!.render([{ role: "user", content: "hi" }])
  expect(refused).toThrow(/refuses these messages \(user\): .*(no){100}/)
  expect(refused).toThrow(
    expect.objectContaining({ message: expect.stringMatching(/^.{0,1500}$/s) }),
  )
})
