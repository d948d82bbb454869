import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { describe, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { loadTokenizer } from "../../src/text/index.ts"
import { ran } from "../train/run-in-thread.ts"
import { expectSameApart, expectSameContinuations, found, present } from "./asked-llama-cpp.ts"
import { goldenModel, newFolder } from "./models.ts"

const LETTERS = "abcdefghijklmnopqrstuvwxyz"

/** A short run's folder: letters after letters, learnt fast. */
async function trained(model: string, more: Record<string, unknown>): Promise<string> {
  const root = newFolder()
  const data = join(root, "rows.jsonl")
  const rows = Array.from({ length: 8 }, (_, i) => ({
    prompt: LETTERS.slice(i, i + 6),
    completion: `${more.model_tokens ? "<go>" : ""}${LETTERS.slice(i + 6, i + 11)}`,
  }))
  writeFileSync(data, rows.map((row) => `${JSON.stringify(row)}\n`).join(""))
  await ran(
    parseConfig({
      ...{ model, objective: "sft", data: { train: [{ path: data }], max_length: 32 } },
      ...{ learning_rate: 3e-2, batch_size: 4, max_steps: 3, save_steps: 0, eval_steps: 0 },
      ...{
        lr_scheduler: "constant",
        engine: { name: "onnx", device: "cpu", threads: 1, dtype: "fp32" },
      },
      output_dir: join(root, "run"),
      ...more,
    }),
  )
  return join(root, "run")
}

/** More than the model has spare rows for. */
const TOKENS = ["<go>", { token: "<end>", special: false }, "<a>", "<b>", "<c>", "<d>"]
const lora = { r: 4, lora_alpha: 8 }
const PATTERNS = {
  ...lora,
  use_rslora: true,
  rank_pattern: { q_proj: 2 },
  alpha_pattern: { "layers.1": 3 },
}
const WAYS: Record<string, Record<string, unknown>> = {
  full: {},
  "new tokens": { model_tokens: TOKENS },
  lora: { adapter: lora },
  patterns: { adapter: PATTERNS },
  dora: { adapter: { ...lora, use_dora: true, use_rslora: true } },
  pissa: { adapter: { ...lora, init_lora_weights: "pissa" } },
  "lora, new tokens": { adapter: lora, model_tokens: TOKENS },
  "dora, new tokens": { adapter: { ...lora, use_dora: true }, model_tokens: TOKENS },
  "lora, whole modules": { adapter: { ...lora, modules_to_save: ["lm_head", "embed_tokens"] } },
}

describe.skipIf(!present)(`what was trained, asked of llama.cpp (${found})`, () => {
  test.each(
    ["llama", "qwen2", "qwen3"].flatMap((family) =>
      Object.keys(WAYS).map((way) => [family, way] as const),
    ),
  )("%s, %s: the continuations of the merged file are ours", async (family, way) => {
    const base = goldenModel(family)
    const run = await trained(base, WAYS[way]!)
    const tokenizer = await loadTokenizer(join(run, "model"))
    const added = way.includes("tokens") ? tokenizer.encode("<go><end><d>") : []
    const prompts = [[1, 46, 18, 4, 44], [1, 5, 5, 40], ...added.map((id) => [1, 6, id])]
    await expectSameContinuations(run, prompts, 16)
    if (["lora", "patterns", "pissa"].includes(way)) await expectSameApart(run, base, prompts, 16)
  })
})
