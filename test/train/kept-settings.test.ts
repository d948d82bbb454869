import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { keptObjective } from "../../src/train/kept-settings.ts"

const run = mkdtempSync(join(tmpdir(), "dftune-kept-"))
const checkpoint = join(run, "checkpoints", "step-000006")
beforeAll(() => mkdirSync(checkpoint, { recursive: true }))
afterAll(() => rmSync(run, { recursive: true }))

const recorded = (objective: unknown) =>
  writeFileSync(join(run, "config.json"), JSON.stringify({ config: { objective }, versions: {} }))
const config = (objective: object | string, resume: boolean | string) =>
  parseConfig({ model: "m", data: { train: ["t.jsonl"] }, output_dir: run, objective, resume })

test("a run of 0.1.0 that did not write psft's window down goes on with the 4 it began with", async () => {
  recorded({ name: "psft", normalization: "tokens", keep_special: false })
  for (const resume of [true, checkpoint]) {
    expect(await keptObjective(config("psft", resume))).toMatchObject({ updates: 4 })
  }
  expect(await keptObjective(config("psft", false))).toMatchObject({ updates: 8 })
})

test("a window that was written down is taken as the config says it now", async () => {
  recorded({ name: "psft", updates: 8 })
  expect(await keptObjective(config("psft", true))).toMatchObject({ updates: 8 })
  expect(await keptObjective(config({ name: "psft", updates: 2 }, true))).toMatchObject({
    updates: 2,
  })
})

test("other objectives are as they are", async () => {
  recorded({ name: "psft" })
  const dft = config("dft", true)
  expect(await keptObjective(dft)).toBe(dft.objective)
})
