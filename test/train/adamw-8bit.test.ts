import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { train } from "../../src/engines/index.ts"
import { openSafetensors } from "../../src/formats/index.ts"
import { readRun } from "../../src/run/run-folder.ts"
import { sumRows } from "./tiny-model.ts"

const DEMO_MODEL = fileURLToPath(new URL("../../demo/model", import.meta.url))
const root = mkdtempSync(join(tmpdir(), "dftune-8bit-"))
afterAll(() => rmSync(root, { recursive: true, force: true }))
beforeAll(() => {
  process.env.DFTUNE_CACHE = join(root, "cache")
  sumRows(root, 20)
})

const settings = (name: string, more: object) => ({
  model: DEMO_MODEL,
  data: { train: [{ path: join(root, "sums.jsonl") }], max_length: 64 },
  objective: "dft",
  batch_size: 4,
  micro_batch_tokens: 128,
  learning_rate: 1e-3,
  max_steps: 4,
  save_steps: 2,
  eval_steps: 0,
  engine: { name: "onnx", device: "cpu", threads: 1 },
  output_dir: join(root, name),
  ...more,
})
const run = (name: string, more: object) => train(parseConfig(settings(name, more))).result
const model = (name: string) => readFileSync(join(root, name, "model", "model.safetensors"))
const checkpoint = (name: string) => join(root, name, "checkpoints", "step-000002")
const nlls = (name: string) =>
  readRun(join(root, name)).events.flatMap((event) =>
    event.type === "step" ? [(event as { nll: number }).nll] : [],
  )

test("a run with eight-bit moments learns as AdamW does, and goes on to the same bits", async () => {
  await run("eight", { optimizer: "adamw_8bit" })
  const reader = await openSafetensors(join(checkpoint("eight"), "trainer.safetensors"))
  const codes = [...reader.tensors].filter(([name]) => name.endsWith(".codes"))
  await reader.close()
  expect(codes.length).toBeGreaterThan(0)
  expect(codes.every(([, { dtype }]) => dtype === "U8")).toBe(true)
  await run("resumed", { optimizer: "adamw-8bit", resume: checkpoint("eight") })
  expect(model("resumed").equals(model("eight"))).toBe(true)

  await run("plain", {})
  for (const [i, nll] of nlls("plain").entries()) expect(nlls("eight")[i]).toBeCloseTo(nll, 2)
  expect(model("plain").equals(model("eight"))).toBe(false)
})

test("another optimizer does not go on with its checkpoint", async () => {
  const other = run("other", { resume: checkpoint("eight") })
  await expect(other).rejects.toThrow('optimizer "adamw-8bit" there, "adamw" here')
})
