import { readFileSync } from "node:fs"
import type { Server } from "node:http"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { hubFolder, openTabModel, SavedModels, type TabModel } from "../../src/browser/index.ts"
import { safetensorsPieces } from "../../src/formats/safetensors.ts"
import { COMMIT, type HubState, hubServer } from "../hub/hub-server.ts"
import { MemoryDirectory } from "./memory-directory.ts"

const file = (name: string) =>
  readFileSync(fileURLToPath(new URL(`../../demo/model/${name}`, import.meta.url)))
const WEIGHTS = file("model.safetensors")
const TEXTS = {
  "config.json": file("config.json"),
  "tokenizer.json": file("tokenizer.json"),
  "tokenizer_config.json": file("tokenizer_config.json"),
}
const state: HubState & { repos: Record<string, { files: Record<string, Buffer> }> } = {
  repos: {},
  requests: [],
  cutAfter: undefined,
}
let hub: { url: string; server: Server }
let root: MemoryDirectory
let full: boolean
let saved: SavedModels

beforeAll(async () => {
  hub = await hubServer(state)
})
afterAll(() => hub.server.close())
beforeEach(() => {
  full = false
  root = new MemoryDirectory("", () =>
    full ? new DOMException("no room", "QuotaExceededError") : undefined,
  )
  saved = new SavedModels(async () => root)
  state.repos["owner/one"] = {
    files: { ...TEXTS, "model.safetensors": WEIGHTS, "pytorch_model.bin": Buffer.from("x") },
  }
  state.requests.length = 0
  state.cutAfter = undefined
})

const opened = async (id = "owner/one") =>
  openTabModel(await hubFolder(id, { endpoint: hub.url, saved }))
const fetchedFiles = () => state.requests.filter((path) => path.includes("/resolve/"))
/** The same weights, to the bit. */
function expectSame(one: TabModel, other: TabModel) {
  expect([...one.weights.keys()]).toEqual([...other.weights.keys()])
  for (const [name, { data }] of one.weights) {
    const there = other.weights.get(name)!.data
    const isSame = Buffer.from(data.buffer).equals(Buffer.from(there.buffer))
    expect(isSame, name).toBe(true)
  }
}

/** A saved file's bytes, as they lie in the origin's file system. */
async function kept(name: string) {
  const models = await root.getDirectoryHandle("dftune-models")
  const commit = await (await models.getDirectoryHandle("owner%2Fone")).getDirectoryHandle(COMMIT)
  return commit.files.get(name)!
}

test("a model of the hub opens, and a second time from what was saved, without its weights' download", async () => {
  const model = await opened()
  expect(fetchedFiles().join()).not.toContain("pytorch_model")
  expect(fetchedFiles()).toContain(`/owner/one/resolve/${COMMIT}/model.safetensors`)
  state.requests.length = 0
  const again = await opened()
  expect(fetchedFiles()).toEqual([])
  expectSame(again, model)
  expect(await saved.list()).toMatchObject([{ id: "owner/one" }])
  await saved.delete("owner/one")
  expect(await saved.list()).toEqual([])
  await opened()
  expect(fetchedFiles()).toHaveLength(4)
})

describe("what was saved and is not the same any more is fetched again", () => {
  test.each([
    ["a byte is another", "model.safetensors"],
    ["a seal is damaged", "model.safetensors.seal.json"],
  ])("%s", async (_, name) => {
    const model = await opened()
    const bytes = await kept(name)
    bytes[20] = bytes[20]! + 1
    state.requests.length = 0
    expectSame(await opened(), model)
    expect(fetchedFiles()).toEqual([`/owner/one/resolve/${COMMIT}/model.safetensors`])
  })
})

test("without the hub the last copy is used; without a copy that is said", async () => {
  const away = { endpoint: "http://127.0.0.1:9", saved }
  await expect(hubFolder("owner/one", away)).rejects.toThrow(/cannot be reached, and no copy/)
  const model = await opened()
  expectSame(await openTabModel(await hubFolder("owner/one", away)), model)
  await expect(hubFolder("owner/one", { ...away, revision: "other" })).rejects.toThrow(/no copy/)
})

test("a download that breaks off is named, and nothing of it is kept", async () => {
  state.cutAfter = 4000
  await expect(opened()).rejects.toThrow(/safetensors: broke off after \d+ of \d+ bytes/)
  await opened()
})

test("a browser without room trains from memory", async () => {
  full = true
  const model = await opened()
  expect(model.weights.size).toBeGreaterThan(10)
  state.requests.length = 0
  await opened()
  expect(fetchedFiles().length).toBeGreaterThan(0)
})

test("shards are fetched as their index names them", async () => {
  const whole = await opened()
  const names = [...whole.weights.keys()]
  const shard = async (part: readonly string[]) => {
    const pieces: Uint8Array[] = []
    const tensors = part.map((name) => {
      const { shape, data } = whole.weights.get(name)!
      return { name, dtype: "F32", shape, data: new Uint8Array(data.buffer.slice(0)) } as const
    })
    for await (const piece of safetensorsPieces(tensors)) pieces.push(piece)
    return Buffer.concat(pieces)
  }
  const half = names.length >> 1
  const files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] as const
  const map = names.map((name, i) => [name, files[i < half ? 0 : 1]])
  const index = JSON.stringify({ weight_map: Object.fromEntries(map) })
  state.repos["owner/shards"] = {
    files: {
      ...TEXTS,
      "model.safetensors.index.json": Buffer.from(index),
      [files[0]]: await shard(names.slice(0, half)),
      [files[1]]: await shard(names.slice(half)),
    },
  }
  expectSame(await opened("owner/shards"), whole)
})

test.each([
  ["no id", "../../etc", /expected a hub id/],
  ["an address", "https://example.org/a", /expected a hub id/],
  ["a dot", "./one", /expected a hub id/],
  ["nobody's model", "owner/none", /no public model of this name/],
])("%s is refused", async (_, id, message) => {
  await expect(opened(id)).rejects.toThrow(message)
})
