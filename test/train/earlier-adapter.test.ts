import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { readAdapter, readModelConfig } from "../../src/models/files/index.ts"
import type { StepEvent } from "../../src/run/events.ts"
import { ran } from "./run-in-thread.ts"
import { sumRows, tinyModel } from "./tiny-model.ts"

const root = mkdtempSync(join(tmpdir(), "dftune-earlier-"))
let model: string
afterAll(() => rmSync(root, { recursive: true, force: true }))
beforeAll(() => {
  process.env.DFTUNE_CACHE = join(root, "cache")
  sumRows(root, 20)
  model = tinyModel(join(root, "base"))
})

const adapter = {
  ...{ r: 2, lora_alpha: 4, target_modules: ["q_proj"] },
  ...{ rank_pattern: { "layers.1.self_attn.q_proj": 3 }, modules_to_save: ["model.norm"] },
}
const config = (name: string, more: Record<string, unknown>) =>
  parseConfig({
    model,
    data: { train: [{ path: join(root, "sums.jsonl") }], max_length: 64 },
    ...{ learning_rate: 1e-2, lr_scheduler: "constant", warmup_ratio: 0, objective: "sft" },
    ...{ batch_size: 20, max_steps: 2, save_steps: 0, eval_steps: 0 },
    engine: { name: "onnx", device: "cpu", threads: 1 },
    output_dir: join(root, name),
    ...more,
  })
const losses = async (name: string, more: Record<string, unknown>) =>
  (await ran(config(name, more))).events.flatMap((event) =>
    event.type === "step" ? [event as StepEvent] : [],
  )

test("training goes on from an adapter: its start is where the other ended, its settings are kept", async () => {
  const whole = await losses("whole", { adapter, max_steps: 4 })
  await losses("first", { adapter })
  const second = await losses("second", { adapter: { path: join(root, "first") } })
  // the moments begin anew, so only the first loss is known
  expect(Math.abs(second[0]!.loss - whole[2]!.loss)).toBeLessThan(1e-5)
  expect(second[1]!.loss).toBeLessThan(second[0]!.loss)
  const { shape } = await readModelConfig(model)
  const { spec } = await readAdapter(join(root, "second/model"), shape)
  expect(spec.layers[1]!.get("self_attn.q_proj")).toEqual({ rank: 3, alpha: 4 })
  expect([...spec.saved.tensors]).toEqual(["model.norm.weight"])
})

test("resumed it has the same bits", async () => {
  const path = join(root, "first/model")
  await losses("on", { adapter: { path }, max_steps: 4, save_steps: 2 })
  const resume = join(root, "on/checkpoints/step-000002")
  await losses("resumed", { adapter: { path }, max_steps: 4, save_steps: 2, resume })
  const file = (name: string) => readFileSync(join(root, name, "model/adapter_model.safetensors"))
  expect(file("resumed").equals(file("on"))).toBe(true)
})

test("an objective with a reference compares with the adapter as it was, not with the base", async () => {
  const path = join(root, "second/model")
  const [first] = await losses("kl", { adapter: { path }, objective: "asft" })
  const [fresh] = await losses("plain", { adapter: { path }, objective: "dft" })
  expect(first!.loss).toBeCloseTo(fresh!.loss, 5) // KL to itself is 0
})

test("what the adapter decides is refused beside it", async () => {
  const own = losses("own", { adapter: { path: join(root, "first"), r: 4 } })
  await expect(own).rejects.toThrow(/adapter\.r: is that of the adapter in adapter\.path/)
})
