import { spawnSync } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { askedIds } from "../../src/data/render.ts"
import { trainWithTorch } from "../../src/engines/torch/torch-run.ts"
import { exportModel } from "../../src/export/index.ts"
import { openGguf } from "../../src/formats/index.ts"
import { openGenerator } from "../../src/generate/index.ts"
import type { SampledToken } from "../../src/generate/sample-source.ts"
import { loadModel, readAdapter } from "../../src/models/files/index.ts"
import type { StepEvent } from "../../src/run/events.ts"
import { loadTokenizer } from "../../src/text/index.ts"
import { PYTHON, WITH_PYTHON } from "../engines/torch/python.ts"
import { ran } from "./run-in-thread.ts"
import { tinyModel } from "./tiny-model.ts"

const DEMO_MODEL = fileURLToPath(new URL("../../demo/model", import.meta.url))
const root = mkdtempSync(join(tmpdir(), "dftune-tokens-"))
const base: Record<string, string> = {}
const data = join(root, "calls.jsonl")
afterAll(() => rmSync(root, { recursive: true, force: true }))
beforeAll(() => {
  process.env.DFTUNE_CACHE = join(root, "cache")
  base.llama = tinyModel(join(root, "llama-base"))
  base.qwen2 = tinyModel(join(root, "qwen2-base"), "qwen2")
  const rows = Array.from({ length: 24 }, (_, i) =>
    JSON.stringify({ prompt: `${i} + ${i}? `, completion: `<call>${i} + ${i}<end>` }),
  )
  writeFileSync(data, `${rows.join("\n")}\n`)
})

const TOKENS = ["<call>", { token: "<end>", special: false }]
const config = (name: string, more: Record<string, unknown>) =>
  parseConfig({
    ...{ model: base.llama!, model_tokens: TOKENS, objective: "sft" },
    data: rows,
    ...{ learning_rate: 2e-2, batch_size: 8, max_steps: 8, save_steps: 4, eval_steps: 0 },
    ...{ lr_scheduler: "constant", engine: { name: "onnx", device: "cpu", threads: 1 } },
    output_dir: join(root, name),
    ...more,
  })
const rows = { train: [{ path: data }], max_length: 64 }
const adapter = { r: 2, lora_alpha: 4 }
const file = (name: string) => readFileSync(join(root, name))

async function losses(name: string, more: Record<string, unknown>): Promise<number[]> {
  const { events } = await ran(config(name, more))
  return events.flatMap((event) => (event.type === "step" ? [(event as StepEvent).loss] : []))
}

test("rows for new tokens start as the mean of the others', and are learnt in a full fine-tune", async () => {
  const found = await losses("full", {})
  expect(found.at(-1)!).toBeLessThan(found[0]! / 2)
  const { config: model, weights } = await loadModel(join(root, "full/model"))
  expect(model.shape.vocabSize).toBe(66)
  expect(model.json.vocab_size).toBe(66)
  expect(weights.get("model.embed_tokens.weight")!.length).toBe(66 * model.shape.hiddenSize)
  const tokenizer = await loadTokenizer(join(root, "full/model"))
  expect(Array.from(tokenizer.encode("a<call>b<end>"))).toEqual([
    ...tokenizer.encode("a"),
    64,
    ...tokenizer.encode("b"),
    65,
  ])
  expect(tokenizer.specialTokenIds.has(64)).toBe(true)
  expect(tokenizer.specialTokenIds.has(65)).toBe(false)
})

test.each(["llama", "qwen2"])(
  "%s: under an adapter embedding and head are trained and saved; a resumed run has the same bits",
  async (family) => {
    const model = base[family]!
    const found = await losses(`${family}-whole`, { model, adapter })
    expect(found.at(-1)!).toBeLessThan(found[0]!)
    const resume = join(root, `${family}-whole/checkpoints/step-000004`)
    await losses(`${family}-resumed`, { model, adapter, resume })
    const path = "model/adapter_model.safetensors"
    expect(file(`${family}-resumed/${path}`).equals(file(`${family}-whole/${path}`))).toBe(true)
    const { config: before } = await loadModel(model)
    const { shape, tensors } = await readAdapter(join(root, `${family}-whole/model`), before.shape)
    expect(shape.vocabSize).toBe(66)
    expect(shape.tieWordEmbeddings).toBe(before.shape.tieWordEmbeddings)
    const rows = tensors.get("base_model.model.lm_head.weight")!
    expect(rows.length).toBe(66 * shape.hiddenSize)
  },
)

test("keep_special weighs a new token by 1 where DFT weighs it by its small probability", async () => {
  const weightOf = async (name: string, special: boolean) => {
    const objective = { name: "dft", keep_special: true }
    const more = { objective, model_tokens: [{ token: "<call>", special }] }
    const { events } = await ran(config(name, { ...more, max_steps: 1, save_steps: 0 }))
    return (events.find(({ type }) => type === "step") as StepEvent).mean_weight
  }
  const [ordinary, special] = [await weightOf("ordinary", false), await weightOf("special", true)]
  // one token of about 15 has a weight of 1 in place of nearly 0
  expect(special! - ordinary!).toBeGreaterThan(0.03)
})

test("a GGUF file has the tokens and their rows", async () => {
  const model = DEMO_MODEL
  await losses("demo", { model, adapter, max_steps: 1, save_steps: 0, data: rows })
  const out = join(root, "gguf")
  const { files } = await exportModel(join(root, "demo"), {
    to: "gguf",
    preTokenizer: "qwen2",
    out,
  })
  const name = files.find(({ file }) => file.endsWith(".gguf"))!.file
  const read = await openGguf(join(out, name))
  const tokens = read.metadata.get("tokenizer.ggml.tokens")!.value as readonly string[]
  const { shape } = read.tensors.get("token_embd.weight")!
  await read.close()
  expect(tokens.slice(-2)).toEqual(["<call>", "<end>"])
  expect(shape[0]).toBe(tokens.length)
})

describe.skipIf(!PYTHON)(`PEFT opens an adapter with new tokens, ${WITH_PYTHON}`, () => {
  const torch = { name: "torch", dtype: "fp32", nproc_per_node: 1, python: PYTHON } as const
  test.each([
    ["llama", "whole", undefined],
    ["qwen2", "whole", undefined],
    ["llama", "torch", torch],
    ["qwen2", "torch", torch],
  ] as const)("%s, run %s: the same ln p of every token", { timeout: 200_000 }, async (...row) => {
    const [family, name, engine] = row
    const model = base[family]!
    const run = join(root, `${family}-${name}`)
    if (engine) {
      const run = trainWithTorch(
        config(`${family}-torch`, { model, adapter, engine, save_steps: 0 }),
      )
      await run.result
    }
    const generator = await openGenerator(run, { threads: 1 })
    const prompt = "7 + 7? <call>"
    const top: { tokenId: number; logprob: number }[][] = []
    const request = { prompt, n: 1, temperature: 0, maxNewTokens: 6, seed: 0, alternatives: 66 }
    const onToken = (token: SampledToken) => void top.push([...token.top!])
    let ids: number[] = []
    for await (const { tokenIds } of generator.sample([request], { onToken })) ids = [...tokenIds]
    await generator.close()
    const tokenizer = await loadTokenizer(join(run, "model"))
    const asked = askedIds(prompt, { tokenizer, template: null })
    expect(asked.at(-1)).toBe(64)
    const script = fileURLToPath(new URL("./read-new-tokens.py", import.meta.url))
    const ids_ = JSON.stringify([...asked, ...ids])
    const said = spawnSync(PYTHON!, [script, model, join(run, "model"), ids_], { encoding: "utf8" })
    expect(said.status, said.stderr).toBe(0)
    const { ln_p, tokens } = JSON.parse(said.stdout) as { ln_p: number[][]; tokens: number[] }
    expect(tokens).toEqual(Array.from(tokenizer.encode("a<call>")))
    for (const [t, all] of top.entries()) {
      expect(all).toHaveLength(66)
      const theirs = ln_p[asked.length - 1 + t]!
      for (const { tokenId, logprob } of all) expect(theirs[tokenId]).toBeCloseTo(logprob, 4)
    }
  })
})

test("merged it answers as over its base", async () => {
  const run = join(root, "llama-whole")
  await exportModel(run, { to: "merged", out: join(root, "merged") })
  const answers: string[] = []
  for (const path of [run, join(root, "merged")]) {
    const model = await openGenerator(path, { threads: 1 })
    const request = { prompt: "7 + 7? ", n: 1, temperature: 0, maxNewTokens: 8, seed: 0 }
    for await (const { tokenIds } of model.sample([request])) answers.push(String(tokenIds))
    await model.close()
  }
  expect(answers[0]).toBe(answers[1])
})

test("a token that the model has is refused with its id", async () => {
  const run = losses("known", { model_tokens: ["</s>"] })
  await expect(run).rejects.toThrow(/model_tokens: "<\/s>" is a token of .* already \(id 2\)/)
})
