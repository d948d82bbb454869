import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { openSafetensors } from "../../src/formats/index.ts"
import { loadModel } from "../../src/models/files/index.ts"
import { ran } from "./run-in-thread.ts"
import { sumRows, tinyModel } from "./tiny-model.ts"

const root = mkdtempSync(join(tmpdir(), "dftune-optimizers-"))
let model: string
afterAll(() => rmSync(root, { recursive: true, force: true }))
beforeAll(() => {
  process.env.DFTUNE_CACHE = join(root, "cache")
  sumRows(root, 20)
  model = tinyModel(join(root, "base"))
})

const config = (name: string, more: Record<string, unknown>) =>
  parseConfig({
    model,
    data: { train: [{ path: join(root, "sums.jsonl") }], max_length: 64 },
    ...{ learning_rate: 1e-3, batch_size: 4, max_steps: 4, save_steps: 2, eval_steps: 0 },
    engine: { name: "onnx", device: "cpu", threads: 1 },
    output_dir: join(root, name),
    ...more,
  })
const run = (name: string, more: Record<string, unknown>) => ran(config(name, more))
const result = (name: string, file = "model.safetensors") =>
  readFileSync(join(root, name, "model", file))
const ADAPTER = "adapter_model.safetensors"

describe.each(["adafactor", "muon"])("%s", (optimizer) => {
  test("goes on to the same bits, and keeps what it should", async () => {
    await run(optimizer, { optimizer })
    const resume = join(root, optimizer, "checkpoints", "step-000002")
    const reader = await openSafetensors(join(resume, "trainer.safetensors"))
    const kinds = (name: string) =>
      [...reader.tensors.keys()].filter((key) => key.endsWith(name)).map((key) => key.split(".")[0])
    const [matrix, norm] = ["model.layers.0.mlp.up_proj.weight", "model.norm.weight"]
    expect(kinds(matrix)).toEqual(optimizer === "muon" ? ["momentum"] : ["rows", "columns"])
    expect(kinds(norm)).toEqual(optimizer === "muon" ? ["first", "second"] : ["second"])
    await reader.close()
    await run(`${optimizer}-resumed`, { optimizer, resume })
    expect(result(`${optimizer}-resumed`).equals(result(optimizer))).toBe(true)
  })

  test("trains an adapter", async () => {
    await run(`${optimizer}-adapter`, { optimizer, adapter: { r: 2, lora_alpha: 4 } })
    expect(result(`${optimizer}-adapter`, ADAPTER).length).toBeGreaterThan(0)
  })
})

test("frozen tensors stay as they are, all others change", async () => {
  await run("frozen", { freeze: ["embed_tokens", "layers.0", "input_layernorm"] })
  const [before, after] = [await loadModel(model), await loadModel(join(root, "frozen/model"))]
  for (const [name, values] of after.weights) {
    const isFrozen = /embed_tokens|layers\.0\.|input_layernorm/.test(name)
    const same = values.every((value, i) => value === before.weights.get(name)![i])
    expect(same, name).toBe(isFrozen)
  }
})

test("LoRA+ is a group of its own for B, with its multiple of the rate", async () => {
  const adapter = { r: 2, lora_alpha: 4 }
  await run("plus", { adapter: { ...adapter, loraplus_lr_ratio: 8 } })
  await run("group", { adapter, param_groups: [{ params: "lora_B", learning_rate: 8e-3 }] })
  await run("plain", { adapter })
  expect(result("plus", ADAPTER).equals(result("group", ADAPTER))).toBe(true)
  expect(result("plus", ADAPTER).equals(result("plain", ADAPTER))).toBe(false)
})

test("a group's decay is its own; the first group that names a tensor counts", async () => {
  const decayed = { params: "mlp", weight_decay: 0.5 }
  await run("decay", { param_groups: [decayed, { params: "down_proj", weight_decay: 0 }] })
  await run("same", { weight_decay: 0.01, param_groups: [decayed] })
  await run("none", {})
  expect(result("decay").equals(result("same"))).toBe(true)
  expect(result("decay").equals(result("none"))).toBe(false)
})

const refused: readonly [string, Record<string, unknown>, RegExp][] = [
  ["a group of nothing", { param_groups: [{ params: "vision" }] }, /param_groups\[0\].*"vision"/],
  ["what is not there", { freeze: ["layers.0", "vision"] }, /freeze\[1\].*"vision"/],
  ["everything", { freeze: ["model", "lm_head"] }, /freeze: leaves no tensor/],
  ["no expression", { freeze: ["("] }, /freeze\[0\].*no regular expression/],
]
test.each(refused)("%s is refused", async (_name, more, message) => {
  await expect(run("refused", more)).rejects.toThrow(message)
})

test("an adapter's base is frozen as it is", () => {
  const both = () => config("both", { adapter: "lora", freeze: ["mlp"] })
  expect(both).toThrow(/freeze: .*full fine-tune/)
})
