/**
 * What `dftune probe` says a run will take beside what the same run then takes: seconds a step,
 * seconds in all and peak memory, as ratios (estimate / real).
 *
 *     npm run bench -- probe [--only NAME,...] [--large] [--cpu]
 *
 * `--cpu` compares CPU time with one thread, which other work on the machine does not spoil.
 * Small shapes unless `--large` (Qwen2.5-0.5B's, 9 GB). Each probe is followed by its run, so that
 * both meet the same machine.
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import type { Estimate } from "../src/train/estimate.ts"
import { chats, GSM8K } from "./setup/gsm8k-chats.ts"
import { scriptLines } from "./setup/output-lines.ts"
import { besideProject, qwenModel } from "./setup/qwen-model.ts"

const LORA = { type: "lora", r: 8, lora_alpha: 16 }
const EVERYTHING = {
  save_steps: 10,
  eval_steps: 10,
  generate_samples: { prompts: 2, every: 15, max_new_tokens: 24 },
}

interface Case {
  readonly name: string
  readonly layers?: number
  readonly config: Record<string, unknown>
}

/** On the trained 260K-parameter Llama. */
const SMALL: readonly Case[] = [
  { name: "260K full", config: { max_steps: 30, ...EVERYTHING } },
  { name: "260K full 4096", config: { max_steps: 30, micro_batch_tokens: 4096 } },
  { name: "260K lora", config: { adapter: LORA, max_steps: 30, ...EVERYTHING } },
]
/** On Qwen2.5-0.5B's shape with fewer layers. */
const MIDDLE: readonly Case[] = [
  { name: "2 layers full", layers: 2, config: { batch_size: 4, max_steps: 6 } },
  {
    name: "2 layers full 1024",
    layers: 2,
    config: { batch_size: 4, max_steps: 6, micro_batch_tokens: 1024 },
  },
  { name: "2 layers lora", layers: 2, config: { batch_size: 4, max_steps: 8, adapter: LORA } },
  {
    name: "2 layers int8",
    layers: 2,
    config: { batch_size: 4, max_steps: 8, adapter: LORA, quantization: "int8" },
  },
  {
    name: "2 layers int4",
    layers: 2,
    config: { batch_size: 4, max_steps: 8, adapter: LORA, quantization: "int4" },
  },
]
const LARGE: readonly Case[] = [
  { name: "0.5B full", layers: 24, config: { batch_size: 4, max_steps: 4 } },
  { name: "0.5B lora", layers: 24, config: { batch_size: 4, max_steps: 4, adapter: LORA } },
]

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: "string" },
      large: { type: "boolean", default: false },
      cpu: { type: "boolean", default: false },
    },
  })
  const stories = besideProject("shared/data/weights/stories260K/hf")
  if (!existsSync(stories) || !existsSync(GSM8K)) {
    console.log("absent: ../shared; nothing measured")
    return
  }
  const folder = mkdtempSync(join(tmpdir(), "dftune-bench-probe-"))
  const wanted = values.only?.split(",")
  const cases = [...SMALL, ...MIDDLE, ...(values.large ? LARGE : [])].filter(
    ({ name }) => !wanted || wanted.includes(name),
  )
  const clock = values.cpu ? "cpu" : "wall"
  const results: Record<string, Record<string, number>> = {}
  for (const [i, { name, layers, config }] of cases.entries()) {
    const model = layers === undefined ? stories : qwenModel(layers)
    if (!model) {
      console.error(`${name}: absent: Python with transformers`)
      continue
    }
    const rows = layers === undefined ? GSM8K : chats(folder, GSM8K, 64)
    const path = join(folder, `${i}.json`)
    const engine = { name: "onnx", device: "cpu", threads: values.cpu ? 1 : "auto" }
    writeFileSync(path, JSON.stringify({ ...base(folder, model, rows, name), engine, ...config }))
    const estimate = JSON.parse((await scriptLines("probe-once.ts", [path, clock]))[0]!) as Estimate
    const lines = (await scriptLines("train-once.ts", [path])).filter((l) => l.startsWith("{"))
    results[name] = compared(estimate, lines, values.cpu ? "cpu_seconds" : "seconds")
    console.error(name, JSON.stringify(results[name]))
  }
  rmSync(folder, { recursive: true, force: true })
  console.table(results)
  console.log(JSON.stringify(results))
}

function base(folder: string, model: string, path: string, name: string) {
  const small = !model.includes("qwen")
  return {
    model,
    data: {
      train: [{ path, max_rows: small ? 512 : 64 }],
      eval: small ? [{ path, max_rows: 32 }] : [],
      max_length: small ? 512 : 1024,
    },
    objective: "dft",
    batch_size: 8,
    learning_rate: 1e-5,
    save_steps: 0,
    eval_steps: 0,
    output_dir: join(folder, name.replaceAll(/\W+/g, "-")),
  }
}

/** Ratios, estimate to real; a step is the mean of those after the first. */
function compared(
  estimate: Estimate,
  lines: readonly string[],
  clock: "seconds" | "cpu_seconds",
): Record<string, number> {
  const values = lines.map((line) => JSON.parse(line))
  const steps = values.filter((v) => v.step > 1).map((v) => v[clock])
  const step = steps.reduce((sum, seconds) => sum + seconds, 0) / steps.length
  const { peak_gb, [clock]: seconds } = values.at(-1)
  const round = (x: number) => Math.round(x * 1000) / 1000
  return {
    step_seconds: round(step),
    step_ratio: round(estimate.seconds_per_step / step),
    total_seconds: round(seconds),
    total_ratio: round(estimate.seconds / seconds),
    peak_gb: round(peak_gb),
    memory_ratio: round(estimate.memory_bytes / 1e9 / peak_gb),
  }
}
