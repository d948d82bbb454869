import { copyFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import type { Server } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { exportModel } from "../../src/export/index.ts"
import { openCheckpoint, openGguf, writeGguf, writeSafetensors } from "../../src/formats/index.ts"
import { findModel, ggufFileOf, readModelConfig } from "../../src/models/files/index.ts"
import { fit } from "../../src/train/fit.ts"
import { chosenLayers } from "../../src/train/miniature.ts"
import { closeRows, planRun } from "../../src/train/plan.ts"
import { type HubState, hubServer } from "../hub/hub-server.ts"
import { sumRows, tinyModel } from "./tiny-model.ts"

const folder = mkdtempSync(join(tmpdir(), "dftune-fit-"))
const model = tinyModel(folder)
const bytesOf = (name: string) => readFileSync(join(model, name))
const headerEnd = (file: Buffer) => 8 + Number(file.readBigUInt64LE(0))

const state: HubState = { repos: {}, requests: [], cutAfter: undefined }
let server: Server
const before = { ...process.env }

/** The tensors of the tiny model in two files with an index, and the model with its head tied. */
async function variants() {
  const reader = await openCheckpoint(model)
  const all = await Promise.all(
    [...reader.tensors].map(async ([name, { dtype, shape }]) => ({
      ...{ name, dtype, shape: [...shape] },
      data: await reader.read(name),
    })),
  )
  await reader.close()
  const names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
  const shards = [all.slice(0, 5), all.slice(5)]
  for (const [i, shard] of shards.entries()) await writeSafetensors(join(folder, names[i]!), shard)
  const weightMap = shards.flatMap((shard, i) => shard.map(({ name }) => [name, names[i]!]))
  const index = { metadata: {}, weight_map: Object.fromEntries(weightMap) }
  const config = JSON.parse(bytesOf("config.json").toString())
  const json = (value: unknown) => Buffer.from(JSON.stringify(value))
  return {
    "owner/one": {
      files: {
        "config.json": bytesOf("config.json"),
        "model.safetensors": bytesOf("model.safetensors"),
        "tokenizer.json": bytesOf("tokenizer.json"),
      },
    },
    "owner/shards": {
      files: {
        "config.json": bytesOf("config.json"),
        "model.safetensors.index.json": json(index),
        [names[0]!]: readFileSync(join(folder, names[0]!)),
        [names[1]!]: readFileSync(join(folder, names[1]!)),
      },
    },
    "owner/tied": {
      files: {
        "config.json": json({ ...config, tie_word_embeddings: true }),
        "model.safetensors": bytesOf("model.safetensors"),
      },
    },
    "owner/foreign": { files: { "config.json": json({ ...config, model_type: "bert" }) } },
    "owner/cut": {
      files: {
        "config.json": bytesOf("config.json"),
        "model.safetensors": bytesOf("model.safetensors").subarray(0, 400),
      },
    },
  }
}

beforeAll(async () => {
  Object.assign(state.repos, await variants())
  const made = await hubServer(state)
  server = made.server
  process.env.HF_ENDPOINT = made.url
  process.env.HF_HUB_CACHE = join(folder, "cache")
  process.env.DFTUNE_CACHE = join(folder, "own-cache")
})
beforeEach(() => {
  state.requests.length = 0
})
afterAll(() => {
  process.env = before
  server.close()
  rmSync(folder, { recursive: true, force: true })
})

const configOf = (name: string, more: Record<string, unknown> = {}) =>
  parseConfig({
    model: name,
    data: { train: "rows.jsonl", max_length: 32 },
    batch_size: 2,
    ...more,
  })

/** Bytes of each file that were asked for. */
function served(): Record<string, number> {
  const bytes: Record<string, number> = {}
  for (const request of state.requests) {
    const [, file, from, to] = /resolve\/[^/]+\/(\S+) bytes=(\d+)-(\d+)$/.exec(request) ?? []
    if (file === undefined) {
      expect(request).toMatch(/^\/api\//) // what the repository holds
      continue
    }
    bytes[file] = (bytes[file] ?? 0) + Number(to) - Number(from) + 1
  }
  return bytes
}

test.each(["owner/one", "owner/shards", "owner/tied"])(
  "of %s only the config and the headers are asked for",
  async (name) => {
    const { files } = state.repos[name]!
    const found = await fit(configOf(name), { timed: false })
    const asked = served()
    for (const [file, bytes] of Object.entries(asked)) {
      const whole = files[file]!
      // config.json is read as an object and as text
      const most = file.endsWith(".json") ? 2 * whole.length : headerEnd(whole)
      expect(bytes, file).toBeLessThanOrEqual(most)
    }
    const weights = Object.keys(files).filter((file) => file.endsWith(".safetensors"))
    expect(Object.keys(asked)).toEqual(expect.arrayContaining(["config.json", ...weights]))
    expect(asked["tokenizer.json"]).toBeUndefined()
    expect(found.stored_bytes).toBe(
      weights.reduce((sum, file) => sum + files[file]!.length - headerEnd(files[file]!), 0),
    )
    expect(found.notes.some((note) => note.includes("output head"))).toBe(name === "owner/tied")
  },
)

test("memory is the plan's of the same run, and int4 over an adapter is the least", async () => {
  const rows = sumRows(folder, 8)
  const { ways } = await fit(configOf(model), { timed: false })
  for (const [way, own] of [
    ["full", {}],
    ["lora", { adapter: "lora" }],
    ["int4", { adapter: "lora", quantization: "int4" }],
  ] as const) {
    const data = { train: rows, max_length: 32 }
    const plan = await planRun(configOf(model, { data, micro_batch_tokens: 64, ...own }))
    closeRows(plan)
    const { memory } = ways.find(({ name }) => name === way)!
    for (const part of ["weights", "gradients", "moments"] as const) {
      expect(memory?.[part], `${way} ${part}`).toBe(plan.memory[part])
    }
  }
})

describe("a GGUF file", () => {
  const memory = ({ ways }: Awaited<ReturnType<typeof fit>>) =>
    ways.map(({ memory_bytes }) => memory_bytes)
  let file: Buffer

  beforeAll(async () => {
    const out = join(folder, "gguf")
    const to = { to: "gguf", out, type: "f32", preTokenizer: "llama-bpe" } as const
    const { files } = await exportModel(model, to)
    copyFileSync(join(out, files[0]!.file), join(folder, "m.gguf"))
    file = readFileSync(join(folder, "m.gguf"))
    // A header of over a megabyte, so that it is not whole after the first range.
    const reader = await openGguf(join(folder, "m.gguf"))
    const long = { kind: "string", value: "x".repeat(1_500_000) } as const
    const tensors = await Promise.all(
      [...reader.tensors].map(async ([name, { type, shape }]) => {
        const values = await reader.readFloat32(name)
        return { name, type: type as "F32", shape, values: async () => values }
      }),
    )
    await reader.close()
    await writeGguf(join(folder, "long.gguf"), {
      metadata: new Map([...reader.metadata, ["general.description", long]]),
      tensors,
    })
    Object.assign(state.repos, {
      "owner/gguf": {
        files: {
          "README.md": Buffer.from("read"),
          "m-f32.gguf": file,
          "deep/m-f32.gguf": readFileSync(join(folder, "long.gguf")),
          "cut.gguf": file.subarray(0, -100),
        },
      },
    })
  })

  test("is told as the model it is of, here and on the hub", async () => {
    const hub = await fit(configOf("owner/one"), { timed: false })
    for (const name of [model, join(folder, "m.gguf"), "owner/gguf/m-f32.gguf"]) {
      expect(memory(await fit(configOf(name), { timed: false })), name).toEqual(memory(hub))
    }
  })

  test("of the hub is read by ranges, its header alone, however long that is", async () => {
    const { files } = state.repos["owner/gguf"]!
    const long = files["deep/m-f32.gguf"]!
    const found = await fit(configOf("owner/gguf/deep/m-f32.gguf"), { timed: false })
    const asked = served()
    expect(Object.keys(asked)).toEqual(["deep/m-f32.gguf"])
    expect(asked["deep/m-f32.gguf"]).toBeGreaterThan(1_500_000)
    expect(asked["deep/m-f32.gguf"]).toBeLessThanOrEqual(long.length)
    expect(found.stored_bytes).toBe(long.length)
  })

  test("of the hub is a model wherever one is named, from the cache without a network too", async () => {
    const found = await findModel("owner/gguf/m-f32.gguf")
    expect(readFileSync(ggufFileOf(found)!).equals(file)).toBe(true)
    expect((await readModelConfig(found)).shape.numHiddenLayers).toBe(2)
    process.env.HF_HUB_OFFLINE = "1"
    try {
      state.requests.length = 0
      expect(await findModel("owner/gguf/m-f32.gguf")).toBe(found)
      const offline = await fit(configOf("owner/gguf/m-f32.gguf"), { timed: false })
      expect(offline.stored_bytes).toBe(file.length)
      expect(state.requests).toEqual([])
    } finally {
      delete process.env.HF_HUB_OFFLINE
    }
  })

  test.each([
    ["owner/gguf", /owner\/gguf: holds GGUF files alone; name one of them: owner\/gguf\/m-f32/],
    ["owner/gguf/n.gguf", /owner\/gguf: has no n.gguf; it has owner\/gguf\/m-f32.gguf/],
    ["owner/one/n.gguf", /owner\/one: has no n.gguf; it has no GGUF file/],
    ["owner/absent/n.gguf", /owner\/absent: not found/],
    ["owner/gguf/cut.gguf", /cut.gguf: .*cut short/],
    ["test/none/n.gguf", /test\/none\/n.gguf: no such file, and no hub id/],
    ["owner/gguf/../n.gguf", /no such file, and no hub id/],
  ])("%s is refused, by train and by fit", async (name, message) => {
    await expect(fit(configOf(name), { timed: false })).rejects.toThrow(message)
    await expect(findModel(name)).rejects.toThrow(message)
  })
})

test("time is measured without a weight being read", async () => {
  const { ways } = await fit(configOf("owner/one"))
  const { files } = state.repos["owner/one"]!
  const header = headerEnd(files["model.safetensors"]!)
  expect(served()["model.safetensors"]).toBe(header)
  for (const { tokens_per_second, seconds_per_step } of ways) {
    expect(tokens_per_second! * seconds_per_step!).toBeCloseTo(64, 5)
  }
})

test.each([
  ["owner/foreign", {}, /model_type.*bert/],
  ["owner/absent", {}, /owner\/absent: not found/],
  ["owner/cut", {}, /model.safetensors: .*(cut short|header)/],
  ["no/such/folder", {}, /no such folder/],
])("%s is refused", async (name, more, message) => {
  await expect(fit(configOf(name, more), { timed: false })).rejects.toThrow(message)
})

test("layers that stand for all: whole small models, else evenly from the first to the last", async () => {
  const { shape } = await readModelConfig(model)
  expect(chosenLayers(shape)).toEqual([0, 1])
  const large = {
    ...shape,
    vocabSize: 1e6,
    numHiddenLayers: 12,
    layers: Array(12).fill(shape.layers[0]),
  }
  expect(chosenLayers(large)).toEqual([0, 11])
  const mixed = large.layers.map((kind, i) => ({ ...kind, name: i % 6 === 5 ? "global" : "local" }))
  expect(chosenLayers({ ...large, layers: mixed })).toEqual([0, 2, 4, 7, 9, 11])
})
