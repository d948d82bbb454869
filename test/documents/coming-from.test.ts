/** docs/coming-from: what other trainers call a setting is answered here with the line to write. */
import { readdirSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { expect, test } from "vitest"
import { parse } from "yaml"
import { parseConfig } from "../../src/config/parse-config.ts"

const FOLDER = fileURLToPath(new URL("../../docs/coming-from/", import.meta.url))
const WHOLE = { model: "m", data: { train: ["t.jsonl"] } }

/** `code` in the cells of a page's table: theirs, and ours beside it. */
function cells(page: string): { theirs: string[]; ours: string[] }[] {
  const text = readFileSync(`${FOLDER}${page}`, "utf8")
  const codes = (cell: string) => [...cell.matchAll(/`([^`]*)`/g)].map(([, code]) => code!)
  return [...text.matchAll(/^\| (.*?) \| (.*) \|$/gm)]
    .slice(2)
    .map(([, theirs, ours]) => ({ theirs: codes(theirs!), ours: codes(ours!) }))
}

/** A key and a value as YAML, Python or a command line has them; undefined for calls and files. */
function setting(code: string): [key: string, value: unknown] | undefined {
  const found = /^([a-z_0-9]+)(?:\s*[:=]\s*(.*))?$/s.exec(code)
  if (!found) return undefined
  const [, key, value] = found
  if (value !== undefined)
    return [key!, parse(value.replace(/^(True|False)$/, (x) => x.toLowerCase()))]
  if (key === "lr_scheduler") return [key, "cosine"]
  return [key!, /lr|rate|steps|size|ratio|norm|decay|seed|epochs|length/.test(key!) ? 1 : "x"]
}

function problemOf(config: object): string | undefined {
  try {
    parseConfig(config)
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}

test.each(readdirSync(FOLDER))("%s: each key is one of ours or answered with a line", (page) => {
  const settings = cells(page).flatMap(({ theirs }) =>
    theirs.flatMap((code) => setting(code) ?? []),
  )
  expect(settings.length).toBeGreaterThan(15)
  for (const { theirs, ours } of cells(page)) {
    for (const [key, value] of theirs.flatMap((code) => [setting(code)]).filter((x) => !!x)) {
      const problem = problemOf({ ...WHOLE, [key]: value })
      if (problem !== undefined) expect(problem, `${page}: ${key}`).toMatch(/; (write|leave) /)
    }
    for (const code of ours.filter((code) => /^[a-z_]+:/.test(code))) {
      const { data, ...rest } = parse(code) as { data?: object; quantization?: string }
      const adapter = rest.quantization === undefined ? {} : { adapter: "lora" }
      const config = { ...WHOLE, ...adapter, ...rest, data: { ...WHOLE.data, ...data } }
      expect(problemOf(config), `${page}: ${code}`).toBeUndefined()
    }
  }
})

test.each<[string, string]>([
  ["per_device_train_batch_size: 2\ngradient_accumulation_steps: 4", "batch_size: 8"],
  ['per_device_train_batch_size: "4"\ngradient_accumulation_steps: "8"', "batch_size: 32"],
  ['load_in_4bit: "false"', "leave it out"],
  ['quantization_bit: "8"', "quantization: int8"],
  ['lora_parameters: { rank: "4", scale: "10" }', "r: 4, lora_alpha: 40"],
  ["bf16: true", "engine: { dtype: bf16 }"],
  ["micro_batch_size: 3\ngradient_accumulation_steps: 5", "batch_size: 15"],
  ["lora_r: 16\nlora_alpha: 32", "adapter: { type: lora, r: 16, lora_alpha: 32 }"],
  ["lora_rank: 4\nlora_target: all", "adapter: { type: lora, r: 4, target_modules: all-linear }"],
  ["lora_target_modules: [q_proj, v_proj]", 'target_modules: ["q_proj","v_proj"]'],
  [
    "lora_parameters: { rank: 4, scale: 10, dropout: 0.1 }",
    "adapter: { type: lora, r: 4, lora_alpha: 40, lora_dropout: 0.1 }",
  ],
  ["stage: dpo\npref_beta: 0.3", "objective: { name: dpo, beta: 0.3 }"],
  ["stage: sft\nuse_dft_loss: true", "objective: dft"],
  ["rl: kto", "objective: kto"],
  ["quantization_bit: 8", "quantization: int8"],
  ["load_in_4bit: true", "quantization: int4"],
  ["datasets: [{ path: a.jsonl, type: x }, { path: org/b }]", "data: { train: [a.jsonl, org/b] }"],
  ["max_seq_length: 512", "max_length: 512"],
  ["val_set_size: 0.05", "eval_split: 0.05"],
  ["train_on_inputs: true", "supervise: all"],
  ["train_on_inputs: false", "leave it out"],
  ["mask_prompt: false", "supervise: all"],
  ["optim: paged_adamw_8bit", "optimizer: adamw-8bit"],
  ["optim: adamw_torch_fused", "optimizer: adamw"],
  ["random_state: 3407", "seed: 3407"],
  ["steps_per_eval: 200", "eval_steps: 200"],
  ["iters: 600", "max_steps: 600"],
  ["lr_scheduler_type: linear", "lr_scheduler: linear"],
  ["adapter: qlora", "write adapter: lora and quantization: int4"],
])("%s -> %s", (theirs, line) => {
  expect(problemOf({ ...WHOLE, ...(parse(theirs) as object) })).toContain(line)
})

test("mlx-lm's folder of rows is answered with its files", () => {
  expect(problemOf({ model: "m", data: "rows/" })).toContain(
    "write data: { train: rows/train.jsonl, eval: rows/valid.jsonl }",
  )
  expect(problemOf({ model: "m", data: "rows.jsonl" })).toContain("data: { train: rows.jsonl }")
})
