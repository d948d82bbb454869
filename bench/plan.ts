/**
 * What `dftune probe --fit` says of a model, before its weights are read, beside what training it
 * then takes: peak memory of the process and seconds a step, as ratios (said / real).
 *
 *     npm run bench -- plan [--model FOLDER,...] [--only full,lora,int4] [--tokens 256] [--rows 4] [--cpu]
 *
 * The bundled model, and the folders given. `--cpu` compares CPU time with one thread, which other
 * work on the machine spoils less.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import type { Fit, FitWayName } from "../src/train/fit.ts"
import { scriptLines } from "./setup/output-lines.ts"

const STEPS = 4
const ADAPTER = { type: "lora", r: 8, lora_alpha: 16 }
const WAYS: Readonly<Record<FitWayName, Record<string, unknown>>> = {
  full: {},
  lora: { adapter: ADAPTER },
  int4: { adapter: ADAPTER, quantization: "int4" },
}

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      model: { type: "string", default: "" },
      only: { type: "string", default: Object.keys(WAYS).join() },
      tokens: { type: "string", default: "256" },
      rows: { type: "string", default: "4" },
      cpu: { type: "boolean", default: false },
    },
  })
  const bundled = fileURLToPath(new URL("../demo/model", import.meta.url))
  const models = [bundled, ...values.model.split(",").filter(Boolean)]
  const folder = mkdtempSync(join(tmpdir(), "dftune-bench-plan-"))
  const clock = values.cpu ? "cpu" : "wall"
  const results: Record<string, Record<string, number>> = {}
  for (const model of models) {
    const config = base(folder, model, values)
    const path = join(folder, "fit.json")
    writeFileSync(path, JSON.stringify(config))
    const said = JSON.parse((await scriptLines("fit-once.ts", [path, clock]))[0]!) as Fit
    for (const way of said.ways.filter(({ name }) => values.only.split(",").includes(name))) {
      const own = join(folder, `${way.name}.json`)
      writeFileSync(own, JSON.stringify({ ...config, ...WAYS[way.name] }))
      const lines = (await scriptLines("train-once.ts", [own])).filter((l) => l.startsWith("{"))
      const name = `${basename(model === bundled ? "demo" : model)} ${way.name}`
      results[name] = compared(way, lines, values.cpu ? "cpu_seconds" : "seconds")
      console.error(name, JSON.stringify(results[name]))
    }
  }
  rmSync(folder, { recursive: true, force: true })
  console.table(results)
  console.log(JSON.stringify(results))
}

function base(
  folder: string,
  model: string,
  options: { tokens: string; rows: string; cpu: boolean },
) {
  const rows = join(folder, "rows.jsonl")
  const text = readFileSync(new URL("../docs/log.md", import.meta.url), "utf8")
  // Each is cut at max_length, so that all have as many tokens.
  const size = 16 * Number(options.tokens)
  const texts = Array.from({ length: STEPS * Number(options.rows) }, (_, i) =>
    text.slice(i * 200, i * 200 + size),
  )
  writeFileSync(rows, texts.map((text) => `${JSON.stringify({ text })}\n`).join(""))
  return {
    model,
    data: { train: [{ path: rows }], max_length: Number(options.tokens), supervise: "all" },
    objective: "dft",
    batch_size: Number(options.rows),
    max_steps: STEPS,
    learning_rate: 1e-5,
    save_steps: 0,
    eval_steps: 0,
    engine: { name: "onnx", device: "cpu", threads: options.cpu ? 1 : "auto" },
    output_dir: join(folder, "run"),
  }
}

/** Ratios, said to real; a step is the median of those after the first. */
function compared(
  { memory_bytes, seconds_per_step }: Fit["ways"][number],
  lines: readonly string[],
  clock: "seconds" | "cpu_seconds",
): Record<string, number> {
  const values = lines.map((line) => JSON.parse(line))
  const steps = values.filter((v) => v.step > 1).map((v) => Number(v[clock]))
  const step = steps.sort((a, b) => a - b)[Math.floor(steps.length / 2)]!
  const { peak_gb } = values.at(-1)
  const round = (x: number) => Math.round(x * 1000) / 1000
  return {
    step_seconds: round(step),
    step_ratio: round((seconds_per_step ?? Number.NaN) / step),
    peak_gb: round(peak_gb),
    memory_ratio: round((memory_bytes ?? Number.NaN) / 1e9 / peak_gb),
  }
}
