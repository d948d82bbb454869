import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import {
  endpointOrigin,
  localModelOrigin,
  modelFolders,
  modelPrecision,
  openSampleFile,
  promptRows,
  type Sample,
  sampleRow,
  samplingRecord,
} from "../../src/generate/index.ts"
import { MODELS } from "./tiny-models.ts"

const folder = mkdtempSync(join(tmpdir(), "dftune-origin-"))
afterAll(() => rmSync(folder, { recursive: true }))
let files = 0
const fresh = () => join(folder, `${files++}.jsonl`)

const rows = promptRows('{"prompt":"a"}\n{"prompt":"b"}\n', "p.jsonl", {
  hasTemplate: false,
  plainTexts: "none",
  columns: {},
})
const sampling = samplingRecord({ temperature: 1, maxNewTokens: 8 })
const made = { model: "runs/a", weights: "1", configs: "c", n: 1, seed: 0, chat: false, sampling }
const row = { completion: "x", token_ids: [], logprobs: [], finish_reason: "stop" }

async function begin(path: string, origin: object = made) {
  const notices: string[] = []
  const onNotice = (message: string) => void notices.push(message)
  const plan = { rows, n: 1, seed: 0, origin: origin as never, onNotice }
  const file = await openSampleFile(path, plan)
  return { file, notices }
}

test("the same model and settings go on, under whatever name the model has", async () => {
  const path = fresh()
  const { file } = await begin(path)
  file.append({ prompt: "a", ...row, seed: 0 })
  file.close()
  const again = await begin(path, { ...made, model: "runs/renamed" })
  expect([...again.file.done]).toEqual([0])
  expect(again.notices).toEqual([])
  again.file.close()
})

test.each([
  [
    "another model",
    { model: "qwen", weights: "2" },
    /the model's weights \(runs\/a there, qwen now\)/,
  ],
  ["a run trained again", { weights: "2" }, /the model's weights \(runs\/a is not what it was\)/],
  ["another template", { configs: "d" }, /chat template/],
  ["a chat", { chat: true }, /chat false there, true now/],
  ["more samples", { n: 2 }, /n 1 there, 2 now/],
  [
    "another temperature",
    { sampling: samplingRecord({ temperature: 0, maxNewTokens: 8 }) },
    /temperature 1 there, 0 now/,
  ],
  [
    "a penalty",
    { sampling: samplingRecord({ temperature: 1, maxNewTokens: 8, repetitionPenalty: 1.3 }) },
    /repetition_penalty not set there, 1.3 now/,
  ],
  ["a server", endpointOrigin("m", "http://h"), /endpoint not set there, "http:\/\/h" now/],
] as const)("%s is refused by name, and nothing is changed", async (_name, change, message) => {
  const path = fresh()
  const { file } = await begin(path)
  file.append({ prompt: "a", ...row, seed: 0 })
  file.close()
  const before = readFileSync(path, "utf8")
  await expect(begin(path, { ...made, ...change })).rejects.toThrow(message)
  expect(readFileSync(path, "utf8")).toBe(before)
})

test("a file of 0.1.0 has no record: it goes on, and says so", async () => {
  const path = fresh()
  writeFileSync(path, `${JSON.stringify({ prompt: "a", ...row, seed: 0 })}\n`)
  const { file, notices } = await begin(path)
  expect(file.done.size).toBe(1)
  expect(notices[0]).toMatch(/nothing beside it says/)
  file.close()
  expect(existsSync(`${path}.origin.json`)).toBe(true)
})

test("other prompts are refused by key and value", async () => {
  const path = fresh()
  const { file } = await begin(path)
  file.append({ prompt: "z", ...row, seed: 1 })
  file.close()
  await expect(begin(path)).rejects.toThrow(/1: .*"prompt" is "z" there, "b" now/)
})

test("samples that a server refused are asked for again, those of long prompts are not", async () => {
  const path = fresh()
  const { file } = await begin(path)
  file.append({ prompt: "a", ...row, completion: "", finish_reason: "error", error: "no", seed: 0 })
  file.append({
    prompt: "b",
    ...row,
    completion: "",
    finish_reason: "length",
    error: "long",
    seed: 1,
  })
  file.close()
  const { file: again } = await begin(path)
  expect([...again.done]).toEqual([1])
  again.append({ prompt: "a", ...row, seed: 0 })
  await again.finish()
  const written = readFileSync(path, "utf8").trim().split("\n")
  expect(written.map((line) => JSON.parse(line).finish_reason)).toEqual(["stop", "length"])
})

test("a model is known by its weights, its tokenizer and its configs", async () => {
  const [copy, other] = [join(folder, "copy"), join(folder, "other")]
  cpSync(join(MODELS, "qwen2"), copy, { recursive: true })
  cpSync(join(MODELS, "qwen2"), other, { recursive: true })
  const origin = async (path: string) => {
    const { model: _, ...rest } = localModelOrigin(path, await modelFolders(path), "fp32")
    return rest
  }
  expect(await origin(copy)).toEqual(await origin(other))
  writeFileSync(join(other, "chat_template.jinja"), "{{ messages[0].content }}")
  expect((await origin(other)).configs).not.toBe((await origin(copy)).configs)
  const weights = readFileSync(join(other, "model.safetensors"))
  weights.writeUInt8(weights.at(-1)! ^ 1, weights.length - 1)
  writeFileSync(join(other, "model.safetensors"), weights)
  expect((await origin(other)).weights).not.toBe((await origin(copy)).weights)
})

test("samples of one precision are not continued in another, and each row says its own", async () => {
  const path = join(folder, "precision.jsonl")
  const folders = await modelFolders(join(MODELS, "qwen2"))
  const resolved = await Promise.all(
    (["auto", "fp32", "bf16"] as const).map((dtype) => modelPrecision(folders, { dtype })),
  )
  expect(resolved).toEqual(["fp32", "fp32", "bf16"]) // a small model is fp32 under auto
  const { file } = await begin(path, { ...made, dtype: "fp32" })
  const sample: Sample = {
    ...{ requestIndex: 0, sampleIndex: 0, completion: "x", tokenIds: [1], logprobs: [-1] },
    ...{ finishReason: "stop", seed: 0 },
  }
  const written = sampleRow({ prompt: "a", dtype: "the prompt's" }, sample, { dtype: "fp32" })
  expect(written).toMatchObject({ completion: "x", dtype: "fp32" })
  expect(sampleRow({}, sample, {})).not.toHaveProperty("dtype") // a server's
  file.append({ ...written, prompt: "a" })
  file.close()
  await expect(begin(path, { ...made, dtype: "bf16" })).rejects.toThrow(
    'dtype "fp32" there, "bf16" now',
  )
})
