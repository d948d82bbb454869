/** Small runs of every kind, and their rows. */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { sumRows, tinyModel } from "../test/train/tiny-model.ts"

export interface RunKind {
  readonly settings: object
  /** The file of its rows. */
  readonly rows?: string
}

/** Rewards the share of digits: what a model without training has some of. */
const DIGITS = `export default ({ completion }) =>
  completion.length === 0 ? 0 : [...completion].filter((c) => c >= "0" && c <= "9").length / completion.length
`
const ROLLOUT = { num_generations: 4, max_new_tokens: 6, rewards: [{ module: "digits.mjs" }] }

/** What is trained in trials. */
export const RUNS: Readonly<Record<string, RunKind>> = {
  full: { settings: { objective: "dft" } },
  lora: { settings: { adapter: { r: 2, lora_dropout: 0.2 }, quantization: "int8" } },
  psft: { settings: { objective: { name: "psft", updates: 4 } } },
  samples: {
    settings: { generate_samples: { prompts: 2, every: 3, max_new_tokens: 4 }, eval_steps: 3 },
  },
  dpo: { settings: { objective: "dpo" }, rows: "pairs.jsonl" },
  kto: { settings: { objective: "kto", adapter: { r: 2 } }, rows: "labels.jsonl" },
  rl: {
    settings: { objective: "grpo", batch_size: 8, rollout: ROLLOUT, learning_rate: 1e-2 },
    rows: "prompts.jsonl",
  },
  "rl twice": {
    settings: {
      ...{ objective: "grpo", batch_size: 8, adapter: { r: 2 }, learning_rate: 1e-2 },
      rollout: { ...ROLLOUT, num_iterations: 2 },
    },
    rows: "prompts.jsonl",
  },
}

/** Rows of every kind, from the same sums. */
export function writeRows(folder: string): void {
  tinyModel(folder)
  const file = sumRows(folder, 60)
  writeFileSync(join(folder, "digits.mjs"), DIGITS)
  const sums = readFileSync(file, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { prompt: string; completion: string })
  const write = (name: string, rows: readonly object[]) =>
    writeFileSync(join(folder, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(""))
  write(
    "pairs.jsonl",
    sums.map(({ prompt, completion }) => ({ prompt, chosen: completion, rejected: "no." })),
  )
  write(
    "labels.jsonl",
    sums.map((row, i) => ({ ...row, label: i % 2 === 0 })),
  )
  write(
    "prompts.jsonl",
    sums.slice(0, 8).map(({ prompt }) => ({ prompt })),
  )
}
