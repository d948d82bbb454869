import { createHash } from "node:crypto"
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import type { Server } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest"
import { resolveDataset, resolveModel } from "../../src/hub/hub.ts"
import { COMMIT, type HubState, hubServer } from "./hub-server.ts"

const sha256 = (data: Buffer) => createHash("sha256").update(data).digest("hex")
const root = mkdtempSync(join(tmpdir(), "dftune-hub-"))
const weights = Buffer.from(Array.from({ length: 200_000 }, (_, i) => i % 251))
const state: HubState = {
  repos: {
    "owner/model": {
      files: {
        "config.json": Buffer.from("{}"),
        "model.safetensors": weights,
        "tokenizer.json": Buffer.from('{"a":1}'),
        "pytorch_model.bin": Buffer.from("a pickle"),
        "modeling_custom.py": Buffer.from("code"),
      },
    },
    "owner/gated": { files: { "config.json": Buffer.from("{}") }, gated: true },
    "owner/data": {
      files: {
        "main/train/0001.parquet": Buffer.from("two"),
        "main/train/0000.parquet": Buffer.from("one"),
        "main/test/0000.parquet": Buffer.from("test"),
        "other/train/0000.parquet": Buffer.from("other"),
      },
    },
  },
  requests: [],
  cutAfter: undefined,
}
let server: Server
let url: string
const before = { ...process.env }

beforeAll(async () => {
  const made = await hubServer(state)
  server = made.server
  url = made.url
})
beforeEach(() => {
  process.env.HF_ENDPOINT = url
  process.env.HF_HUB_CACHE = mkdtempSync(join(root, "cache-"))
  process.env.HF_HOME = join(root, "home")
  delete process.env.HF_TOKEN
  delete process.env.HF_HUB_OFFLINE
  state.requests.length = 0
})
afterEach(() => {
  process.env = { ...before }
})
afterAll(() => {
  server.close()
  rmSync(root, { recursive: true, force: true })
})

test("a model's files come into Python's cache layout; pickles and code stay away", async () => {
  const folder = await resolveModel("owner/model")
  const cache = process.env.HF_HUB_CACHE!
  expect(folder).toBe(join(cache, "models--owner--model", "snapshots", COMMIT))
  expect(readFileSync(join(folder, "model.safetensors")).equals(weights)).toBe(true)
  expect(existsSync(join(folder, "pytorch_model.bin"))).toBe(false)
  expect(existsSync(join(folder, "modeling_custom.py"))).toBe(false)
  const ref = join(cache, "models--owner--model", "refs", "main")
  expect(readFileSync(ref, "utf8")).toBe(COMMIT)

  process.env.HF_HUB_OFFLINE = "1"
  process.env.HF_ENDPOINT = "http://127.0.0.1:1"
  expect(await resolveModel("owner/model")).toBe(folder)
})

test("a second call downloads nothing again", async () => {
  await resolveModel("owner/model")
  state.requests.length = 0
  await resolveModel("owner/model")
  expect(state.requests.filter((request) => request.includes("/resolve/"))).toEqual([])
})

test("an interrupted download goes on where it stopped", async () => {
  state.cutAfter = 70_000
  await expect(resolveModel("owner/model")).rejects.toThrow(/a partial download is kept/)
  state.requests.length = 0
  const progress: number[] = []
  const folder = await resolveModel("owner/model", {
    onProgress: ({ file, bytes }) => file === "model.safetensors" && progress.push(bytes),
  })
  expect(readFileSync(join(folder, "model.safetensors")).equals(weights)).toBe(true)
  const continued = state.requests.filter((r) => /model\.safetensors bytes=[1-9]\d*-/.test(r))
  expect(continued).toHaveLength(1)
  expect(progress.at(-1)).toBe(weights.length)
})

test("missing, gated, unreachable and offline each say what to do", async () => {
  await expect(resolveModel("owner/none")).rejects.toThrow(/owner\/none: not found on http/)
  await expect(resolveModel("owner/gated")).rejects.toThrow(/owner\/gated.*set HF_TOKEN/)
  process.env.HF_TOKEN = "good"
  await expect(resolveModel("owner/gated")).rejects.toThrow(/HF_TOKEN: .*hf_/)
  process.env.HF_TOKEN = "hf_good"
  expect(existsSync(await resolveModel("owner/gated"))).toBe(true)
  process.env.HF_ENDPOINT = "http://127.0.0.1:1"
  await expect(resolveModel("owner/model")).rejects.toThrow(/cannot reach http:\/\/127\.0\.0\.1:1/)
  process.env.HF_HUB_OFFLINE = "1"
  await expect(resolveModel("owner/model")).rejects.toThrow(/is not in the cache/)
  await expect(resolveModel("no/such/folder/here")).rejects.toThrow(/no such folder/)
})

test("a commit can be pinned, and a folder here wins over an id", async () => {
  const folder = await resolveModel("owner/model", { revision: COMMIT })
  expect(folder.endsWith(COMMIT)).toBe(true)
  expect(state.requests.some((request) => request.includes("/revision/"))).toBe(false)
  expect(await resolveModel(folder)).toBe(folder)
})

test("a data set's split is its parquet files in order", async () => {
  const files = await resolveDataset("owner/data", { name: "main" })
  expect(files.map((file) => readFileSync(file, "utf8"))).toEqual(["one", "two"])
  await expect(resolveDataset("owner/data")).rejects.toThrow(/name: main \| other/)
  await expect(resolveDataset("owner/data", { name: "main", split: "dev" })).rejects.toThrow(
    /no split "dev" in main; it has test, train|no split "dev" in main; it has train, test/,
  )
})

test("no revision or id leads out of the cache", async () => {
  const outside = { revision: "../../outside" }
  await expect(resolveModel("owner/model", outside)).rejects.toThrow(/branch, tag or commit/)
  await expect(resolveDataset("../data")).rejects.toThrow(/hub id/)
  expect(state.requests).toEqual([])
})

test("a partial file with other content is not taken for the real one", async () => {
  const cache = process.env.HF_HUB_CACHE!
  const blobs = join(cache, "models--owner--model", "blobs")
  mkdirSync(blobs, { recursive: true })
  writeFileSync(join(blobs, `${sha256(weights)}.incomplete`), Buffer.alloc(1000, 7))
  await expect(resolveModel("owner/model")).rejects.toThrow(
    /model\.safetensors: its content is not/,
  )
  const folder = await resolveModel("owner/model")
  expect(readFileSync(join(folder, "model.safetensors")).equals(weights)).toBe(true)
})
