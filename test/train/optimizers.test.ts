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

describe.each([
  ["the model", {}, "model.safetensors"],
  ["an adapter", { adapter: { r: 2, lora_alpha: 4 } }, ADAPTER],
])("ema_decay over %s", (what, more, own) => {
  const name = `ema ${what}`
  const averaged = { ...more, ema_decay: 0.5, save_steps: 1, save_total_limit: null }

  test("the result is the average, and a resumed run has the same bits", async () => {
    await run(name, averaged)
    const weights = async (folder: string) => {
      const reader = await openSafetensors(join(root, name, folder, own))
      const names = [...reader.tensors.keys()]
      const read = names.map(async (key) => [key, await reader.readFloat32(key)] as const)
      const found = new Map(await Promise.all(read))
      await reader.close()
      return found
    }
    const steps = [1, 2, 3].map((step) => weights(`checkpoints/step-00000${step}`))
    const [first, ...later] = await Promise.all(steps)
    // the weights after the last step are not written: those of the same run without an average
    await run(`${name} plain`, more)
    const reader = await openSafetensors(join(root, `${name} plain`, "model", own))
    for (const [key, values] of await weights("model")) {
      const last = await reader.readFloat32(key)
      const all = [...later.map((one) => one.get(key)!), last]
      const expected = all.reduce<number[]>(
        (mean, now) => mean.map((e, i) => e + 0.5 * (now[i]! - e)),
        [...first!.get(key)!],
      )
      const worst = Math.max(...values.map((value, i) => Math.abs(value - expected[i]!)))
      expect(worst, key).toBeLessThan(1e-6)
    }
    await reader.close()
    expect(result(name, own).equals(result(`${name} plain`, own))).toBe(false)

    const resume = join(root, name, "checkpoints", "step-000002")
    await run(`${name} resumed`, { ...averaged, resume })
    expect(result(`${name} resumed`, own).equals(result(name, own))).toBe(true)
  })
})

test("the last evaluation and the best step are the average's", async () => {
  const evaluated = {
    ...{
      objective: "sft",
      ema_decay: 0.5,
      learning_rate: 1e-2,
      load_best_model_at_end: true,
      eval_steps: 1,
    },
    data: { train: [{ path: join(root, "sums.jsonl") }], eval_split: 4, max_length: 64 },
  }
  const { events } = await run("ema evaluated", evaluated)
  const plain = await run("ema not", { ...evaluated, ema_decay: null })
  const nlls = (all: typeof events) =>
    all.flatMap((event) => (event.type === "eval" ? [event.nll!] : []))
  const [averages, weights] = [nlls(events), nlls(plain.events)]
  // nothing is averaged before the first step, and one step's weights are their own average
  expect(averages.slice(0, 2)).toEqual(weights.slice(0, 2))
  expect(averages[2]).not.toBe(weights[2])
  const best = Math.min(...averages.slice(1))
  const again = { model: join(root, "ema evaluated", "model"), max_steps: 1, eval_steps: 0 }
  const started = await run("ema again", { data: evaluated.data, ...again })
  expect(Math.abs(nlls(started.events)[0]! - best)).toBeLessThan(1e-5)
})

test("gradient_checkpointing is recompute by Transformers' name", () => {
  expect(config("gc", { gradient_checkpointing: true }).recompute).toBe("always")
  expect(config("gc", { gradient_checkpointing: false }).recompute).toBe("never")
  const both = { gradient_checkpointing: true, recompute: "never" }
  expect(() => config("gc", both)).toThrow(/gradient_checkpointing: true is recompute: always/)
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
