import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { train } from "../../src/engines/index.ts"
import { openSafetensors } from "../../src/formats/index.ts"
import { sumRows } from "./tiny-model.ts"

const DEMO_MODEL = fileURLToPath(new URL("../../demo/model", import.meta.url))
const root = mkdtempSync(join(tmpdir(), "dftune-lion-"))
afterAll(() => rmSync(root, { recursive: true, force: true }))
beforeAll(() => {
  process.env.DFTUNE_CACHE = join(root, "cache")
  sumRows(root, 20)
})

const config = (name: string, more: object) =>
  parseConfig({
    model: DEMO_MODEL,
    data: { train: [{ path: join(root, "sums.jsonl") }], max_length: 64 },
    ...{ optimizer: "lion", learning_rate: 1e-4, lr_scheduler: "warmup_stable_decay" },
    ...{ batch_size: 4, micro_batch_tokens: 128, max_steps: 4, save_steps: 2, eval_steps: 0 },
    engine: { name: "onnx", device: "cpu", threads: 1 },
    output_dir: join(root, name),
    ...more,
  })
const model = (name: string) => readFileSync(join(root, name, "model", "model.safetensors"))

test("a run with lion keeps one moment, and goes on to the same bits", async () => {
  await train(config("whole", {})).result
  const checkpoint = join(root, "whole", "checkpoints", "step-000002")
  const reader = await openSafetensors(join(checkpoint, "trainer.safetensors"))
  const names = [...reader.tensors.keys()]
  await reader.close()
  expect(names.some((name) => name.startsWith("first."))).toBe(true)
  expect(names.some((name) => name.startsWith("second."))).toBe(false)
  await train(config("resumed", { resume: checkpoint })).result
  expect(model("resumed").equals(model("whole"))).toBe(true)

  const other = train(config("other", { optimizer: "adamw", resume: checkpoint })).result
  await expect(other).rejects.toThrow('optimizer "lion" there, "adamw" here')
})
