import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { exportModel } from "../../src/export/index.ts"
import { openGenerator } from "../../src/generate/index.ts"
import { readAdapter, readModelConfig } from "../../src/models/files/index.ts"
import type { StepEvent } from "../../src/run/events.ts"
import { bf16Kernel } from "../../src/runtime/node.ts"
import { ran } from "./run-in-thread.ts"
import { sumRows, tinyModel } from "./tiny-model.ts"

const root = mkdtempSync(join(tmpdir(), "dftune-kinds-"))
let model: string
afterAll(() => rmSync(root, { recursive: true, force: true }))
beforeAll(() => {
  process.env.DFTUNE_CACHE = join(root, "cache")
  sumRows(root, 20)
  model = tinyModel(join(root, "base"), "qwen2")
})

const adapter = { r: 2, lora_alpha: 4, lora_dropout: 0.1, target_modules: ["q_proj", "down_proj"] }
const config = (name: string, more: Record<string, unknown>) =>
  parseConfig({
    model,
    data: { train: [{ path: join(root, "sums.jsonl") }], max_length: 64 },
    ...{ learning_rate: 1e-2, lr_scheduler: "constant", warmup_ratio: 0, objective: "sft" },
    ...{ batch_size: 20, max_steps: 4, save_steps: 2, eval_steps: 0, micro_batch_tokens: 128 },
    engine: { name: "onnx", device: "cpu", threads: 1, dtype: "fp32" },
    output_dir: join(root, name),
    ...more,
  })
const losses = async (name: string, more: Record<string, unknown>) =>
  (await ran(config(name, more))).events.flatMap((event) =>
    event.type === "step" ? [(event as StepEvent).loss] : [],
  )
const file = (name: string) => readFileSync(join(root, name, "model/adapter_model.safetensors"))

async function answer(path: string): Promise<string> {
  const generator = await openGenerator(path, { threads: 1 })
  const prompt = "what is 7 + 5? "
  const request = { prompt, n: 1, temperature: 0, maxNewTokens: 8, seed: 0 }
  try {
    for await (const { tokenIds } of generator.sample([request])) return String(tokenIds)
    throw new Error("no sample")
  } finally {
    await generator.close()
  }
}

/** Of the first update, where A and B change nothing yet. */
const first = { max_steps: 1, save_steps: 0 }

describe.each(["none", "int8"])("DoRA over a base held as %s", (quantization) => {
  test("begins as the base, learns magnitudes, and is resumed to the same bits", async () => {
    const dora = { adapter: { ...adapter, use_dora: true }, quantization }
    const whole = await losses(`dora-${quantization}`, dora)
    const [base] = await losses(`lora-${quantization}`, { adapter, quantization, ...first })
    expect(Math.abs(whole[0]! - base!)).toBeLessThan(1e-6)
    expect(whole[3]!).toBeLessThan(whole[0]!)
    const resume = join(root, `dora-${quantization}/checkpoints/step-000002`)
    await losses(`dora-${quantization}-resumed`, { ...dora, resume })
    expect(file(`dora-${quantization}-resumed`).equals(file(`dora-${quantization}`))).toBe(true)

    const { shape } = await readModelConfig(model)
    const { spec, tensors } = await readAdapter(join(root, `dora-${quantization}/model`), shape)
    const fresh = await readAdapter(
      join(root, `dora-${quantization}/checkpoints/step-000002`),
      shape,
    )
    expect(spec.useDora).toBe(true)
    const magnitudes = [...tensors.keys()].filter((name) => name.endsWith("magnitude_vector"))
    expect(magnitudes).toHaveLength(4)
    for (const name of magnitudes) {
      expect(tensors.get(name), name).not.toEqual(fresh.tensors.get(name))
    }
  })
})

test("DoRA: merged, it answers as over its base; llama.cpp's adapters are refused", async () => {
  const run = join(root, "dora-none")
  const out = join(root, "dora-merged")
  await exportModel(run, { to: "merged", out })
  expect(await answer(out)).toBe(await answer(run))
  const gguf = exportModel(run, { to: "gguf-adapter", out: join(root, "gguf") })
  await expect(gguf).rejects.toThrow(/DoRA.*--to gguf/)
})

test("DoRA: an adapter goes on where it was", async () => {
  const before = await losses("dora-on", { adapter: { path: join(root, "dora-none") }, ...first })
  const longer = { adapter: { ...adapter, lora_dropout: 0, use_dora: true }, max_steps: 4 }
  await losses("dora-plain", { ...longer, save_steps: 0 })
  const path = join(root, "dora-plain")
  const [on] = await losses("dora-further", { adapter: { path }, ...first })
  const all = await losses("dora-whole", { ...longer, max_steps: 5, save_steps: 0 })
  expect(Math.abs(on! - all[4]!)).toBeLessThan(1e-5)
  expect(before).toHaveLength(1)
})

test.skipIf(bf16Kernel() === undefined)("DoRA in bf16 begins as the base does", async () => {
  const engine = { name: "onnx", device: "cpu", threads: 1, dtype: "bf16" }
  const [dora] = await losses("dora-bf16", {
    ...{ adapter: { ...adapter, use_dora: true }, engine },
    ...first,
  })
  const [lora] = await losses("lora-bf16", { adapter, engine, ...first })
  expect(Math.abs(dora! - lora!)).toBeLessThan(1e-5)
})

describe.each(["none", "int8"])("PiSSA over a base held as %s", (quantization) => {
  const name = `pissa-${quantization}`
  const pissa = { adapter: { ...adapter, init_lora_weights: "pissa" as const }, quantization }

  test("begins as the base, is resumed to the same bits, and answers as its file does", async () => {
    const whole = await losses(name, { ...pissa, adapter: { ...pissa.adapter, lora_dropout: 0 } })
    const plain = { ...adapter, lora_dropout: 0 }
    const [base] = await losses(`${name}-base`, { adapter: plain, quantization, ...first })
    // codes of what is left of a matrix are rounded otherwise than those of the whole
    expect(Math.abs(whole[0]! - base!)).toBeLessThan(quantization === "none" ? 1e-5 : 2e-2)
    expect(whole[3]!).toBeLessThan(whole[0]!)
    const resume = join(root, `${name}/checkpoints/step-000002`)
    const more = { ...pissa, adapter: { ...pissa.adapter, lora_dropout: 0 }, resume }
    await losses(`${name}-resumed`, more)
    expect(file(`${name}-resumed`).equals(file(name))).toBe(true)
    const { shape } = await readModelConfig(model)
    const { spec } = await readAdapter(join(root, name, "model"), shape)
    expect([spec.loraRank, spec.loraAlpha]).toEqual([4, 8])
  })

  test("a reference is the run's own start", async () => {
    const kl = { ...pissa, adapter: { ...pissa.adapter, lora_dropout: 0 }, ...first }
    const [asft] = await losses(`${name}-asft`, { ...kl, objective: "asft" })
    const [dft] = await losses(`${name}-dft`, { ...kl, objective: "dft" })
    expect(Math.abs(asft! - dft!)).toBeLessThan(1e-5) // KL to itself is 0
  })
})

test("PiSSA: going on from its file is a plain adapter where the run was", async () => {
  const settings = { ...adapter, lora_dropout: 0, init_lora_weights: "pissa" as const }
  const all = await losses("pissa-whole", { adapter: settings, max_steps: 5, save_steps: 0 })
  const path = join(root, "pissa-none")
  const [on] = await losses("pissa-further", { adapter: { path }, ...first })
  expect(Math.abs(on! - all[4]!)).toBeLessThan(1e-4)
})

test("PiSSA with magnitudes, and beside an earlier adapter, is refused", async () => {
  const both = { ...adapter, use_dora: true, init_lora_weights: "pissa" as const }
  expect(() => config("both", { adapter: both })).toThrow(/pissa.*use_dora/)
  const path = join(root, "pissa-none")
  const on = losses("on", { adapter: { path, init_lora_weights: "pissa" } })
  await expect(on).rejects.toThrow(/init_lora_weights: is that of the adapter/)
})
