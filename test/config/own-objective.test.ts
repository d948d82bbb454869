import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, expect, test } from "vitest"
import { defineConfig, loadConfig, parseConfig } from "../../src/config/index.ts"
import { objectiveToConfig, tokenObjective } from "../../src/objectives/index.ts"

const folder = mkdtempSync(join(tmpdir(), "dftune-own-objective-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
// of all the package a loader makes another copy, which takes seconds
const sources = (folder: string) =>
  JSON.stringify(fileURLToPath(new URL(`../../src/${folder}/index.ts`, import.meta.url)))

const mine = tokenObjective("mine", ({ logp }) => logp.exp().sqrt().detach().times(logp).negate())
const base = { model: "m", data: { train: ["rows.jsonl"] } }

test("an objective of one's own stands in a config as it is", () => {
  const plain = parseConfig({ ...base, objective: objectiveToConfig(mine) })
  expect(parseConfig({ ...base, objective: mine })).toEqual(plain)
  expect(parseConfig(defineConfig({ ...base, objective: mine }))).toEqual(plain)
  expect(JSON.parse(JSON.stringify(defineConfig({ ...base, objective: mine }))).objective).toEqual(
    objectiveToConfig(mine),
  )
})

test("so does that of a source", () => {
  const data = { train: [{ path: "a.jsonl", objective: mine }, { path: "b.jsonl" }] }
  const [first, second] = parseConfig({ ...base, data }).data.train
  expect(first?.objective).toMatchObject({ name: "mine", expression: { version: 1 } })
  expect(second?.objective).toBeUndefined()
})

test.each([
  ["with defineConfig", "defineConfig(CONFIG)"],
  ["without", "CONFIG"],
])("a module exports it, %s", async (name, text) => {
  const path = join(folder, `${name.replaceAll(" ", "-")}.ts`)
  const config = `{ model: "m", data: { train: ["rows.jsonl"] }, objective: mine }`
  writeFileSync(
    path,
    `import { defineConfig } from ${sources("config")}
import { tokenObjective } from ${sources("objectives")}
const mine = tokenObjective("mine", ({ logp }) => logp.exp().sqrt().detach().times(logp).negate())
export const unused = defineConfig
export default ${text.replace("CONFIG", config)}
`,
  )
  const { objective } = await loadConfig(path)
  expect(objective).toMatchObject({ name: "mine", normalization: "tokens" })
})

test.each([
  ["train.jsonl", "data.train.0.max_rows=5", { path: "train.jsonl", max_rows: 5 }],
  ["train.jsonl", "data.train.max_rows=5", { path: "train.jsonl", max_rows: 5 }],
  [["train.jsonl"], "data.train.0.max_rows=5", { path: "train.jsonl", max_rows: 5 }],
  [{ path: "train.jsonl" }, "data.train.0.max_rows=5", { path: "train.jsonl", max_rows: 5 }],
  ["train.jsonl", "data.train=other.jsonl", { path: "other.jsonl" }],
  ["train.jsonl", "data.train.0=other.jsonl", { path: "other.jsonl" }],
])("rows written as %j, with --set %s", async (train, set, expected) => {
  const path = join(folder, "rows.json")
  writeFileSync(path, JSON.stringify({ model: "m", data: { train } }))
  const { data } = await loadConfig(path, { set: [set] })
  expect(data.train).toHaveLength(1)
  expect(data.train[0]).toMatchObject(expected)
})

test("an adapter by its short name takes settings of its own", async () => {
  const path = join(folder, "adapter.json")
  writeFileSync(path, JSON.stringify({ ...base, adapter: "lora" }))
  const { adapter } = await loadConfig(path, { set: ["adapter.r=4"] })
  expect(adapter).toMatchObject({ type: "lora", r: 4 })
  expect((await loadConfig(path, { set: ["adapter=null"] })).adapter).toBeNull()
})
