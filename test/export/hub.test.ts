/** A run sent to a hub of its own: what goes there, what never does, and how it goes on. */
import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { hostname, userInfo } from "node:os"
import { join } from "node:path"
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest"
import { parse } from "yaml"
import { parseConfig } from "../../src/config/index.ts"
import { exportToHub, type HubExportOptions } from "../../src/export/index.ts"
import { plainValue, withoutPlaces } from "../../src/export/places.ts"
import { type UploadState, uploadServer } from "../hub/upload-server.ts"
import { DEMO_MODEL } from "../server/serving.ts"
import { newFolder } from "./models.ts"

const state: UploadState = { repos: new Map(), stored: new Map(), requests: [] }
beforeAll(async () => {
  const { url, server } = await uploadServer(state)
  vi.stubEnv("HF_ENDPOINT", url)
  vi.stubEnv("HF_TOKEN", "hf_good")
  return () => void server.close()
})
afterAll(() => vi.unstubAllEnvs())
afterEach(() => state.requests.splice(0))

const root = newFolder()
const rows = join(root, "private-place", "rows.jsonl")
mkdirSync(join(root, "private-place"))
writeFileSync(rows, '{"prompt":"a secret question","completion":"b"}\n')

const time = "2026-01-01T00:00:00.000Z"
const step = (step: number) => ({
  ...{ type: "step", time, step, loss: 0.3, nll: 1 / step, mean_p: 0.1 * step, entropy: 1 },
  ...{ eos_p: 0.5, grad_norm: 1, learning_rate: 1e-5, epoch: 0, tokens: 1, supervised_tokens: 1 },
  ...{ token_accuracy: 0, tokens_per_second: 1, memory_bytes: 1 },
})
const EVENTS = [
  { type: "run.start", time, step: 0, run_id: "r", steps: 4, objective: "dft", rows: 1 },
  ...[1, 2, 3, 4].map(step),
  { type: "warning", time, step: 2, code: "odd", message: `${rows}:1: is odd`, hint: "" },
  {
    type: "sample",
    time,
    step: 4,
    prompt: "a secret question",
    completion: "an answer",
    tokens: [],
    probabilities: [],
  },
  { type: "eval", time, step: 4, name: "gsm8k", score: 0.25, n: 20, ci95: [0.1, 0.4] },
  { type: "run.end", time, step: 4, reason: "done" },
]

const THINKING = "{% if '/think' in messages[0].content %}{{ '</think>' }}{% endif %}"

function writtenRun(name: string): string {
  const run = join(root, name)
  mkdirSync(run)
  const objective = { name: "dft", weight_floor: 0.1 }
  const config = parseConfig({
    model: DEMO_MODEL,
    data: { train: [{ path: rows }] },
    objective,
    output_dir: run,
  })
  const versions = { dftune: "0.1.0", model: DEMO_MODEL, rows: "f".repeat(64) }
  writeFileSync(join(run, "config.json"), JSON.stringify({ config, versions }))
  writeFileSync(
    join(run, "events.jsonl"),
    EVENTS.map((event) => `${JSON.stringify(event)}\n`).join(""),
  )
  writeFileSync(join(run, "samples.jsonl"), '{"prompt":"a secret question"}\n')
  cpSync(DEMO_MODEL, join(run, "model"), { recursive: true })
  const path = join(run, "model", "tokenizer_config.json")
  const tokenizer = JSON.parse(readFileSync(path, "utf8"))
  writeFileSync(path, JSON.stringify({ ...tokenizer, name_or_path: rows, chat_template: THINKING }))
  return run
}
const run = writtenRun("my-run")
const send = (more: Partial<HubExportOptions> = {}) =>
  exportToHub(run, { repo: "me/first", approve: async () => true, ...more })
const textOf = (repo: string, file: string) =>
  state.repos.get(repo)!.files.get(file)!.toString("utf8")

test("files, card and settings go to a private repository, without a place of this machine", async () => {
  const { uploaded } = await send()
  expect(uploaded).toMatchObject({ isNew: true, url: `${process.env.HF_ENDPOINT}/me/first` })
  const { visibility, files } = state.repos.get("me/first")!
  expect(visibility).toBe("private")
  expect([...files.keys()].sort()).toEqual([
    ...["README.md", "config.json", "dftune.yaml", "generation_config.json", "model.safetensors"],
    ...["tokenizer.json", "tokenizer_config.json"],
  ])
  expect(
    files.get("model.safetensors")!.equals(readFileSync(join(run, "export/hub/model.safetensors"))),
  ).toBe(true)
  const card = textOf("me/first", "README.md")
  for (const part of [
    /^---\nlibrary_name: transformers\n/,
    /Loss of a token: `sg\(p\) c`/,
    /`weight_floor`: 0.1/,
    /\| NLL, nats a token \| 1/,
    /\| mean probability of the targets \|/,
    /`rows.jsonl`, SHA-256 `[0-9a-f]{64}`/,
    new RegExp(`\\| rows \\| \`${"f".repeat(64)}\``),
    /`odd` \(step 2\): rows.jsonl:1: is odd/,
    /gsm8k \| .*25/,
    /npx dftune@[\d.]+ train dftune.yaml/,
  ]) {
    expect(card).toMatch(part)
  }
  const tokenizer = JSON.parse(textOf("me/first", "tokenizer_config.json"))
  expect(tokenizer).toMatchObject({ name_or_path: "rows.jsonl", chat_template: THINKING })
  const settings = parse(textOf("me/first", "dftune.yaml"))
  expect(settings).toMatchObject({ model: "model", output_dir: "runs/my-run" })
  expect(settings.data.train[0].path).toBe("rows.jsonl")
  for (const [name, data] of files) {
    if (name === "tokenizer.json" || name.endsWith(".safetensors")) continue // has every word
    for (const word of [root, hostname(), "secret", "private-place", userInfo().homedir]) {
      if (word.length > 2) expect(data.toString("utf8")).not.toContain(word)
    }
  }
})

test("samples go only when they are asked for; evaluations come with their intervals", async () => {
  const evaluation = join(root, "evaluation")
  mkdirSync(evaluation)
  const result = {
    suite: "math500",
    problems: 500,
    n: 4,
    score: 0.5,
    ci95: [0.45, 0.55],
    settings: { temperature: 1 },
  }
  writeFileSync(join(evaluation, "eval.json"), JSON.stringify([result]))
  await send({ repo: "me/second", isPublic: true, withSamples: true, evaluations: [evaluation] })
  expect(state.repos.get("me/second")!.visibility).toBe("public")
  expect(textOf("me/second", "samples.jsonl")).toContain("a secret question")
  const card = textOf("me/second", "README.md")
  expect(card).toContain("an answer")
  expect(card).toContain("50.0 % (95 %: 45.0 to 55.0)")
  await expect(send({ evaluations: [root] })).rejects.toThrow(
    /eval.json: expected the results of dftune eval/,
  )
})

describe("what is asked, refused and taken up again", () => {
  test("who says no sends nothing", async () => {
    const asked: string[][] = []
    const approve: HubExportOptions["approve"] = async (files) => {
      asked.push(files.map(({ file }) => file))
      return false
    }
    const { uploaded } = await send({ repo: "me/third", approve })
    expect(uploaded).toBeUndefined()
    expect(asked[0]).toContain("README.md")
    expect(state.requests).toEqual([])
  })

  test("an upload that broke off sends no large file again", async () => {
    state.stored.clear()
    state.refuseCommit = true
    await expect(send({ repo: "me/fourth" })).rejects.toThrow(/the hub answered 400/)
    const puts = () => state.requests.filter(({ line }) => line.startsWith("PUT")).length
    expect(puts()).toBe(1)
    writeFileSync(join(run, "export/hub/notes.txt"), "mine")
    const { uploaded } = await send({ repo: "me/fourth" })
    // neither samples that were asked for before nor what somebody put there
    const sent = [...state.repos.get("me/fourth")!.files.keys()]
    expect(sent.filter((name) => /samples|notes/.test(name))).toEqual([])
    expect([puts(), uploaded!.isNew]).toEqual([1, false])
    // the key goes to the hub's own API, never with a file
    for (const { line, token } of state.requests)
      expect(token).toBe(line.startsWith("PUT") ? "" : "Bearer hf_good")
  })

  test("a hub that has something else is told", async () => {
    state.loses = "config.json"
    await expect(send()).rejects.toThrow(/the hub has config.json with 0 bytes/)
    delete state.loses
  })

  test("no token, a wrong name, no run", async () => {
    await expect(send({ repo: "alone" })).rejects.toThrow(/--repo: expected owner\/name/)
    await expect(
      exportToHub(DEMO_MODEL, { repo: "me/x", approve: async () => true }),
    ).rejects.toThrow(/expected a run folder/)
    vi.stubEnv("HF_TOKEN", "")
    vi.stubEnv("HF_HOME", root)
    await expect(send()).rejects.toThrow(/set HF_TOKEN in the environment/)
  })
})

test("paths become names, addresses and the rest stay", () => {
  expect(withoutPlaces("/home/me/a.jsonl:3: odd (/tmp/x y) at https://host/a/b, 1/2 or a/b")).toBe(
    "a.jsonl:3: odd (x y) at https://host/a/b, 1/2 or a/b",
  )
  expect(plainValue({ path: "C:\\Users\\me\\rows.jsonl", n: 1, list: ["/a/b"] })).toEqual({
    ...{ path: "rows.jsonl", n: 1, list: ["b"] },
  })
})
