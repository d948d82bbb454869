/**
 * What `dftune probe --fit` says of a model before its weights are read, and what `dftune train`
 * says before its first step, beside what training then takes: ratios (said / real) of the peak
 * memory of the process, of a step's seconds, and of those from the plan to the run's end.
 *
 *     npm run build && npm run bench -- plan [--model FOLDER,...] [--only full,lora,int4]
 *                                            [--tokens 256] [--rows 4] [--steps 4] [--threads 1]
 *
 * The bundled model, and the folders given, by the verbs of the built program. Other work on the
 * machine spoils the times; one thread suffers least.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import type { RunEvent } from "../src/run/events.ts"
import type { Fit, FitWayName } from "../src/train/fit.ts"
import { outputLines } from "./setup/output-lines.ts"

const ADAPTER = { type: "lora", r: 8, lora_alpha: 16 }
const WAYS: Readonly<Record<FitWayName, Record<string, unknown>>> = {
  full: {},
  lora: { adapter: ADAPTER },
  int4: { adapter: ADAPTER, quantization: "int4" },
}
const MAIN = fileURLToPath(new URL("../dist/commands/main.js", import.meta.url))
const HOOK = new URL("./setup/peak-at-exit.mjs", import.meta.url).href
const DEMO = fileURLToPath(new URL("../demo/model", import.meta.url))

interface Options {
  readonly tokens: number
  readonly rows: number
  readonly steps: number
  readonly threads: number
}

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      model: { type: "string", default: DEMO },
      only: { type: "string", default: Object.keys(WAYS).join() },
      tokens: { type: "string", default: "256" },
      rows: { type: "string", default: "4" },
      steps: { type: "string", default: "4" },
      threads: { type: "string", default: "1" },
    },
  })
  if (!existsSync(MAIN)) {
    console.log("plan: dist/ is not here: npm run build first; nothing measured")
    return
  }
  const [tokens, rows, steps, threads] = [values.tokens, values.rows, values.steps, values.threads]
  const options = { tokens: +tokens, rows: +rows, steps: +steps, threads: +threads }
  const wanted = values.only.split(",")
  const folder = mkdtempSync(join(tmpdir(), "dftune-bench-plan-"))
  const results: Record<string, Record<string, number>> = {}
  try {
    for (const model of values.model.split(",").filter(Boolean)) {
      const config = base(folder, model, options)
      const path = join(folder, "fit.json")
      writeFileSync(path, JSON.stringify(config))
      const { out } = await verb(folder, ["probe", "--fit", model, path, "--json"])
      const said = JSON.parse(out.join("\n")) as Fit
      for (const way of said.ways.filter(({ name }) => wanted.includes(name))) {
        const own = join(folder, `${way.name}.json`)
        writeFileSync(own, JSON.stringify({ ...config, ...WAYS[way.name] }))
        const { out, peak } = await verb(folder, ["train", own, "--json"])
        const events = out.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line))
        const name = `${basename(model === DEMO ? "demo" : model)} ${way.name}`
        results[name] = compared(way, events, peak)
        console.error(name, JSON.stringify(results[name]))
        rmSync(config.output_dir, { recursive: true })
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  console.table(results)
  console.log(JSON.stringify(results))
}

/** A verb of the built program in a process of its own: what it prints, and its peak memory. */
async function verb(folder: string, args: readonly string[]) {
  const file = join(folder, "peak")
  const hook = ["--import", HOOK, MAIN, ...args]
  const env = { ...process.env, DFTUNE_BENCH_PEAK: file }
  const out = await outputLines(process.execPath, hook, process.cwd(), env)
  return { out, peak: Number(readFileSync(file, "utf8")) }
}

function base(folder: string, model: string, { tokens, rows, steps, threads }: Options) {
  const path = join(folder, "rows.jsonl")
  const text = readFileSync(new URL("../docs/log.md", import.meta.url), "utf8")
  // Each is cut at max_length, so that all have as many tokens.
  const texts = Array.from({ length: steps * rows }, (_, i) =>
    text.slice(i * 200, i * 200 + 16 * tokens),
  )
  writeFileSync(path, texts.map((text) => `${JSON.stringify({ text })}\n`).join(""))
  return {
    model,
    data: { train: [{ path }], max_length: tokens, supervise: "all" },
    objective: "dft",
    batch_size: rows,
    max_steps: steps,
    learning_rate: 1e-5,
    save_steps: 0,
    eval_steps: 0,
    generate_samples: null,
    engine: { name: "onnx", device: "cpu", threads },
    output_dir: join(folder, "run"),
  }
}

/** Ratios, said to real; a step is the median of those after the first. */
function compared(fit: Fit["ways"][number], events: RunEvent[], peak: number) {
  const start = events.find((event) => event.type === "run.start")!
  const end = events.find((event) => event.type === "run.end")!
  const steps = events.filter((event) => event.type === "step")
  const seconds = steps.slice(1).map(({ tokens, tokens_per_second: rate }, i) => {
    return (tokens - steps[i]!.tokens) / rate
  })
  const step = seconds.sort((a, b) => a - b)[Math.floor(seconds.length / 2)]!
  const whole = (Date.parse(end.time) - Date.parse(start.time)) / 1000
  const round = (x: number) => Math.round(x * 1000) / 1000
  const ratio = (said: number | null | undefined, real: number) => round((said ?? NaN) / real)
  return {
    peak_mb: Math.round(peak / 1e6),
    fit_memory: ratio(fit.memory_bytes, peak),
    train_memory: ratio(start.planned_memory_bytes, peak),
    step_seconds: round(step),
    fit_step: ratio(fit.seconds_per_step, step),
    whole_seconds: round(whole),
    train_whole: ratio(start.planned_seconds, whole),
  }
}
