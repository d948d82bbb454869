/**
 * Fine-tuning beside TRL: real tokens a second and peak memory on the same GSM8K rows as chats,
 * Qwen2.5-0.5B's shape, DFT, four rows a step.
 *
 *     npm run bench -- trl [--steps 4] [--repeats 1] [--only full|lora] [--threads N]
 *                          [--optimizer adamw-8bit] [--dtypes fp32,bf16] [--trl fp32,bf16]
 *
 * TRL is ../shared/bench/trl_dft.py under DFTUNE_PYTHON (or /opt/torch-venv/bin/python). Processes
 * run in turns; a process's rate is the median of its steps after the first. --threads for both
 * (else ours takes the cores there are, TRL two); --optimizer for dftune alone.
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { bf16Kernel } from "../src/runtime/node.ts"
import { chats, GSM8K } from "./setup/gsm8k-chats.ts"
import { outputLines, scriptLines } from "./setup/output-lines.ts"
import { besideProject, PYTHON, qwenModel } from "./setup/qwen-model.ts"

export const ROWS_PER_STEP = 4
export const MAX_LENGTH = 1024

export const PRECISIONS = { fp32: "float32", bf16: "bfloat16" } as const

export interface Measured {
  /** Real tokens a second, a step. */
  readonly rates: readonly number[]
  /** Real tokens a second of CPU time, where that is told. */
  readonly cpuRates?: readonly number[]
  readonly peakGb: number
}

export interface Contender {
  readonly name: string
  readonly measure: () => Promise<Measured>
}

export const median = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!

export { chats }

export interface Setup {
  readonly folder: string
  readonly model: string
  readonly source: string
  readonly steps: number
  readonly threads?: number
  readonly optimizer?: string
}

function ours(
  { folder, model, source, steps, threads, optimizer }: Setup,
  dtype: "fp32" | "bf16",
  mode: "full" | "lora",
): Contender {
  const config = {
    model,
    ...(mode === "lora" ? { adapter: { type: "lora", r: 8, lora_alpha: 16 } } : {}),
    data: {
      train: [{ path: chats(folder, source, ROWS_PER_STEP * steps * 2) }],
      max_length: MAX_LENGTH,
    },
    objective: "dft",
    batch_size: ROWS_PER_STEP,
    learning_rate: 1e-5,
    max_steps: steps,
    save_steps: 0,
    eval_steps: 0,
    ...(optimizer ? { optimizer } : {}),
    engine: { name: "onnx", device: "cpu", dtype, ...(threads ? { threads } : {}) },
    output_dir: join(folder, `run-${mode}`),
  }
  return {
    name: `dftune ${PRECISIONS[dtype]}, ${mode}`,
    measure: () => trainedOnce(folder, `${mode}-${dtype}`, config),
  }
}

/** Trains a config in a process of its own. */
export async function trainedOnce(folder: string, name: string, config: object): Promise<Measured> {
  const path = join(folder, `${name}.json`)
  writeFileSync(path, JSON.stringify(config))
  const out = await scriptLines("train-once.ts", [path])
  const values = out.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line))
  const timed = values.filter((v) => v.step > 1)
  return {
    rates: timed.map((v) => v.real / v.seconds),
    cpuRates: timed.map((v) => v.real / v.cpu_seconds),
    peakGb: values.at(-1).peak_gb,
  }
}

export function theirs(
  { folder, model, source, steps, threads }: Setup,
  precision: keyof typeof PRECISIONS,
  mode: string,
): Contender {
  const script = besideProject("shared/bench/trl_dft.py")
  return {
    name: `TRL ${PRECISIONS[precision]}, ${mode}`,
    async measure() {
      const args = [script, model, source, precision, mode, `${ROWS_PER_STEP}`, `${steps}`]
      const all = [...args, `${MAX_LENGTH}`]
      return measuredTrl(await outputLines(PYTHON, [...withThreads(threads), ...all], folder))
    },
  }
}

/** Runs the script after it with so many threads of PyTorch, whatever it asks for itself. */
const withThreads = (threads: number | undefined) =>
  threads === undefined
    ? []
    : [
        "-c",
        "import runpy, sys, torch; torch.set_num_threads(int(sys.argv[1])); " +
          "torch.set_num_threads = lambda _: None; del sys.argv[:2]; " +
          'runpy.run_path(sys.argv[0], run_name="__main__")',
        `${threads}`,
      ]

/** What a script over a trainer of TRL's printed. */
export function measuredTrl(out: readonly string[]): Measured {
  const numbers = (start: string, number: RegExp) =>
    out
      .filter((line) => line.startsWith(start))
      .flatMap((line) => number.exec(line)?.[1] ?? [])
      .map(Number)
  const real = numbers("batch", /real (\d+)/)
  const seconds = numbers("step", /seconds ([\d.]+)/)
  const cpu = numbers("step", /cpu ([\d.]+)/)
  const [peakGb] = numbers("peak_rss_gb", /([\d.]+)/)
  const rates = (all: readonly number[]) => all.map((s, i) => real[i]! / s).slice(1)
  // the scripts divide KiB by 10^6
  return { rates: rates(seconds), cpuRates: rates(cpu), peakGb: 1.024 * peakGb! }
}

/** Each contender in turn, so often; the median of all rates and the highest peak. */
export async function inTurns(contenders: readonly Contender[], repeats: number): Promise<Results> {
  const measured = new Map<string, Measured[]>()
  for (let repeat = 0; repeat < repeats; repeat++) {
    for (const { name, measure } of contenders) {
      const result = await measure()
      const cpu = result.cpuRates?.length
        ? ` (${median(result.cpuRates).toFixed(1)} a CPU second)`
        : ""
      console.error(
        `${name}: ${median(result.rates).toFixed(1)} tokens/s${cpu}, ${result.peakGb.toFixed(2)} GB`,
      )
      measured.set(name, [...(measured.get(name) ?? []), result])
    }
  }
  return Object.fromEntries(
    [...measured].map(([name, runs]) => [
      name,
      {
        tokens_per_second: median(runs.flatMap(({ rates }) => rates)),
        tokens_per_cpu_second: median(runs.flatMap(({ cpuRates = [] }) => cpuRates)),
        peak_gb: Math.max(...runs.map(({ peakGb }) => peakGb)),
      },
    ]),
  )
}

type Results = Record<
  string,
  {
    readonly tokens_per_second: number
    /** undefined where no contender tells it. */
    readonly tokens_per_cpu_second: number | undefined
    readonly peak_gb: number
  }
>

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      steps: { type: "string", default: "4" },
      repeats: { type: "string", default: "1" },
      only: { type: "string" },
      threads: { type: "string" },
      optimizer: { type: "string" },
      dtypes: { type: "string", default: bf16Kernel() ? "fp32,bf16" : "fp32" },
      trl: { type: "string", default: "fp32,bf16" },
    },
  })
  const model = qwenModel()
  const source = GSM8K
  if (!model || !existsSync(source)) {
    console.log("absent: Python with transformers, or ../shared; nothing measured")
    return
  }
  const folder = mkdtempSync(join(tmpdir(), "dftune-bench-trl-"))
  const { threads, optimizer } = values
  const setup = {
    ...{ folder, model, source, steps: Number(values.steps) },
    ...(threads ? { threads: Number(threads) } : {}),
    ...(optimizer ? { optimizer } : {}),
  }
  const precisions = (list: string) =>
    list.split(",").filter(Boolean) as (keyof typeof PRECISIONS)[]
  const contenders = (["full", "lora"] as const)
    .filter((mode) => !values.only || mode === values.only)
    .flatMap((mode) => [
      ...precisions(values.dtypes).map((dtype) => ours(setup, dtype, mode)),
      ...precisions(values.trl).map((dtype) => theirs(setup, dtype, mode)),
    ])
  const results = await inTurns(contenders, Number(values.repeats))
  rmSync(folder, { recursive: true, force: true })
  console.table(results)
  console.log(JSON.stringify(results))
}
