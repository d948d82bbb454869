import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { train } from "../../src/engines/index.ts"
import { exportModel } from "../../src/export/index.ts"
import { sumRows, tinyModel } from "../train/tiny-model.ts"

let folder: string
let run: string
let rows: string
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "dftune-effect-"))
  run = join(folder, "run")
  rows = sumRows(folder, 24)
  const config = parseConfig({
    model: tinyModel(folder),
    adapter: "lora",
    data: { train: rows },
    batch_size: 8,
    max_steps: 1,
    learning_rate: 1e-5,
    warmup_ratio: 0,
    lr_scheduler: "constant",
    output_dir: run,
  })
  await train(config).result
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const exported = (name: string, dtype: "float32" | "bfloat16") =>
  exportModel(run, { to: "merged", out: join(folder, name), dtype })

test("folded into float32 all of the adapter's effect is kept", async () => {
  const { effect } = await exported("f32", "float32")
  expect(effect!.kept).toBeGreaterThan(0.95)
  expect(effect!.tokens).toBeGreaterThan(100)
})

test("of a step's small change bfloat16 loses most, and the export says so", async () => {
  const { effect } = await exported("bf16", "bfloat16")
  expect(effect!.kept).toBeLessThan(0.5)
})

test("where the run's rows are gone nothing is claimed", async () => {
  rmSync(rows)
  const { effect } = await exported("again", "float32")
  expect(effect).toBeUndefined()
})
