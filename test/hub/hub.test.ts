import { spawn, spawnSync } from "node:child_process"
import { createHash } from "node:crypto"
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from "node:fs"
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { hostname, tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest"
import { resolveDataset, resolveModel } from "../../src/hub/hub.ts"
import { isHubId } from "../../src/hub/names.ts"
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

test("a connection that is cut is made again, and the download goes on where it stopped", async () => {
  state.cutAfter = 70_000
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

/** The partial file of a process that is gone. */
function leftPartial(content: Buffer): string {
  const blobs = join(process.env.HF_HUB_CACHE!, "models--owner--model", "blobs")
  mkdirSync(blobs, { recursive: true })
  const { pid } = spawnSync(process.execPath, ["-e", ""])
  const host = createHash("sha256").update(hostname()).digest("hex").slice(0, 6)
  const path = join(blobs, `${sha256(weights)}.${pid}-${host}.0a1b2c3d.incomplete`)
  writeFileSync(path, content)
  return path
}

test("what a killed process left is gone on with, whatever it holds", async () => {
  const half = leftPartial(weights.subarray(0, 90_000))
  const folder = await resolveModel("owner/model")
  expect(readFileSync(join(folder, "model.safetensors")).equals(weights)).toBe(true)
  expect(state.requests.some((r) => r.endsWith(`bytes=90000-${weights.length - 1}`))).toBe(true)
  expect(existsSync(half)).toBe(false)

  process.env.HF_HUB_CACHE = mkdtempSync(join(root, "cache-"))
  leftPartial(Buffer.alloc(1000, 7))
  const other = await resolveModel("owner/model")
  expect(readFileSync(join(other, "model.safetensors")).equals(weights)).toBe(true)
})

test("a busy hub is asked again; one that stays busy is named", async () => {
  state.busy = [429, 503]
  const folder = await resolveModel("owner/model")
  expect(existsSync(join(folder, "config.json"))).toBe(true)
  state.busy = [401]
  process.env.HF_HUB_CACHE = mkdtempSync(join(root, "cache-"))
  await expect(resolveModel("owner/model")).rejects.toThrow(/refuses access/)
  state.busy = []
})

test("the token stays with the hub, wherever a page of its list leads", async () => {
  const seen: (string | undefined)[] = []
  const stranger = createServer((request, response) => {
    seen.push(request.headers.authorization)
    response.end("[]")
  })
  await new Promise<void>((done) => stranger.listen(0, "127.0.0.1", done))
  const { port } = stranger.address() as AddressInfo
  process.env.HF_TOKEN = "hf_good"
  state.nextPage = `http://127.0.0.1:${port}/next`
  await resolveModel("owner/model")
  state.nextPage = undefined
  stranger.close()
  expect(seen).toEqual([undefined])
  expect(state.requests.length).toBeGreaterThan(2)
})

test("answers that are no answers: a login page, an endless list", async () => {
  state.answer = "<html>log in</html>"
  await expect(resolveModel("owner/model")).rejects.toThrow(/is a proxy or a login page in between/)
  state.answer = undefined
  process.env.HF_TOKEN = ""
  state.nextPage = `${url}/api/models/owner/model/tree/${COMMIT}?cursor=1`
  await expect(resolveModel("owner/model")).rejects.toThrow(/list of files has no end/)
  state.nextPage = undefined
  process.env.HF_ENDPOINT = "http://user:secret@127.0.0.1:1"
  await expect(resolveModel("owner/model")).rejects.toThrow(
    "HF_ENDPOINT: http://127.0.0.1:1 must come without a name and password",
  )
})

test("a small file of the cache that several downloads mixed up is fetched again", async () => {
  const folder = await resolveModel("owner/model")
  const path = join(folder, "tokenizer.json")
  writeFileSync(realpathSync(path), '{"a":1}{"a":1}')
  await resolveModel("owner/model")
  expect(readFileSync(path, "utf8")).toBe('{"a":1}')
})

test("several processes that need a model first at once all get it, and the cache is whole", async () => {
  const hub = fileURLToPath(new URL("../../src/hub/hub.ts", import.meta.url))
  const code = `const { resolveModel } = await import("${hub}"); console.log(await resolveModel("owner/model"))`
  const node = ["--import", import.meta.resolve("tsx"), "--input-type=module", "-e", code]
  const outputs = await Promise.all(
    [0, 1, 2].map(async () => {
      const child = spawn(process.execPath, node, { stdio: ["ignore", "pipe", "inherit"] })
      let text = ""
      child.stdout.on("data", (part) => (text += part))
      const exit = await new Promise((done) => child.on("close", done))
      return `${exit} ${text.trim()}`
    }),
  )
  const cache = join(process.env.HF_HUB_CACHE!, "models--owner--model")
  expect(outputs).toEqual(Array(3).fill(`0 ${join(cache, "snapshots", COMMIT)}`))
  const folder = join(cache, "snapshots", COMMIT)
  expect(readFileSync(join(folder, "model.safetensors")).equals(weights)).toBe(true)
  expect(readFileSync(join(folder, "tokenizer.json"), "utf8")).toBe('{"a":1}')
  expect(readdirSync(join(cache, "blobs")).filter((name) => /incomplete/.test(name))).toEqual([])
})

test.each([
  ["gpt2", true],
  ["Qwen/Qwen2.5-0.5B", true],
  ["_a/b_", true],
  ["a", true],
  ["./nowhere", false],
  ["../nowhere", false],
  ["a/./b", false],
  ["/a/b", false],
  ["a/b/c", false],
  ["a/b/", false],
  ["a/-b", false],
  ["a--b", false],
  ["a/b.", false],
  [".", false],
  ["", false],
])("whether `%s` could be a hub id: %s", (name, expected) => {
  expect(isHubId(name)).toBe(expected)
})
