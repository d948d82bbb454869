import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { exportModel } from "../../src/export/index.ts"
import { openGenerator } from "../../src/generate/index.ts"
import { loadModel, readAdapter, readModelConfig } from "../../src/models/files/index.ts"
import { ran } from "./run-in-thread.ts"
import { sumRows, tinyModel } from "./tiny-model.ts"

const root = mkdtempSync(join(tmpdir(), "dftune-saved-"))
const base: Record<string, string> = {}
afterAll(() => rmSync(root, { recursive: true, force: true }))
beforeAll(() => {
  process.env.DFTUNE_CACHE = join(root, "cache")
  sumRows(root, 20)
  base.llama = tinyModel(root)
  base.qwen2 = tinyModel(join(root, "tied-base"), "qwen2")
})

const adapter = (modules_to_save: string[]) => ({
  ...{ type: "lora", r: 2, lora_alpha: 4, lora_dropout: 0.1, target_modules: ["q_proj"] },
  modules_to_save,
})
const config = (name: string, more: Record<string, unknown>) =>
  parseConfig({
    model: base.llama!,
    adapter: adapter(["embed_tokens", "lm_head", "model.norm", "layers.1.mlp.up_proj"]),
    data: { train: [{ path: join(root, "sums.jsonl") }], max_length: 64 },
    ...{ objective: "dft", learning_rate: 1e-2, batch_size: 4, micro_batch_tokens: 128 },
    ...{ max_steps: 4, save_steps: 2, eval_steps: 0 },
    engine: { name: "onnx", device: "cpu", threads: 1 },
    output_dir: join(root, name),
    ...more,
  })
const tensorsOf = (name: string) =>
  readFileSync(join(root, name, "model/adapter_model.safetensors"))

describe.each(["none", "int8"])("over a base held as %s", (quantization) => {
  test("whole modules train beside the adapter, and a resumed run has the same bits", async () => {
    const [whole, resumed] = [`whole-${quantization}`, `resumed-${quantization}`]
    await ran(config(whole, { quantization }))
    const resume = join(root, whole, "checkpoints", "step-000002")
    await ran(config(resumed, { quantization, resume }))
    expect(tensorsOf(resumed).equals(tensorsOf(whole))).toBe(true)

    const { weights, config: model } = await loadModel(base.llama!)
    const { tensors, spec } = await readAdapter(join(root, whole, "model"), model.shape)
    expect([...spec.saved.tensors].sort()).toEqual([
      "lm_head.weight",
      "model.embed_tokens.weight",
      "model.layers.1.mlp.up_proj.weight",
      "model.norm.weight",
    ])
    for (const name of spec.saved.tensors) {
      expect(tensors.get(`base_model.model.${name}`), name).not.toEqual(weights.get(name))
    }
  })
})

test("a tied head stays tied, and is saved as embedding and as head, which PEFT parts", async () => {
  const model = base.qwen2!
  await ran(config("tied", { model, adapter: adapter(["lm_head"]) }))
  const { shape } = await readModelConfig(model)
  const folder = join(root, "tied/model")
  const { tensors, ...read } = await readAdapter(folder, shape)
  expect(read.shape.tieWordEmbeddings).toBe(true)
  expect(tensors.get("base_model.model.lm_head.weight")).toEqual(
    tensors.get("base_model.model.model.embed_tokens.weight"),
  )
  const written = JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8"))
  expect(written.modules_to_save).toEqual(["lm_head", "embed_tokens"])
})

test.each(["whole-none", "tied"])(
  "%s: merged, it answers as the adapter over its base",
  async (run) => {
    const out = join(root, `${run}-merged`)
    await exportModel(join(root, run), { to: "merged", out })
    const answers: string[] = []
    for (const path of [join(root, run), out]) {
      const model = await openGenerator(path, { threads: 1 })
      try {
        const prompt = "what is 7 + 5? "
        const request = { prompt, n: 1, temperature: 0, maxNewTokens: 8, seed: 0 }
        for await (const { tokenIds } of model.sample([request])) answers.push(String(tokenIds))
      } finally {
        await model.close()
      }
    }
    expect(answers).toHaveLength(2)
    expect(answers[0]).toBe(answers[1])
  },
)

test("what no module is called is refused with the modules that there are", async () => {
  const run = ran(config("none", { adapter: adapter(["classifier"]) }))
  await expect(run).rejects.toThrow(/modules_to_save.*"classifier".*embed_tokens, lm_head/)
})
