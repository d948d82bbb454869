/**
 * Whether training in bfloat16 goes the way that float32 goes: the NLL of each step of two runs over
 * the same short GSM8K rows, one thread, and of held-out rows at their ends, in the run's own precision
 * and in float32.
 *
 *     npm run bench -- nll --model FOLDER [--steps 100] [--rows 2] [--lora] [--objective dft]
 *                          [--file FILE] [--only fp32,control,bf16,torch-fp32,torch-bf16]
 *                          [--control] [--torch]
 *
 * With --control a second float32 run takes each row of a step by itself, so that its gradients differ
 * from the first's in the order of their sums alone: how far two runs part that nobody tells apart.
 * With --torch the torch engine makes two runs as well (PyTorch's products; autocast is TRL's bf16).
 * With a file, what was measured is kept there, and a run that is in it is not made again: they may be
 * made at different times (--only).
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { chats, GSM8K } from "./setup/gsm8k-chats.ts"
import { scriptLines } from "./setup/output-lines.ts"

const LOCAL = { name: "onnx", device: "cpu", threads: 1 }
const TORCH = { name: "torch", nproc_per_node: 1, python: process.env.DFTUNE_PYTHON ?? "python3" }
/** What each run has that the others have not. */
const RUNS = {
  fp32: { engine: { ...LOCAL, dtype: "fp32" }, packing: true },
  control: { engine: { ...LOCAL, dtype: "fp32" }, packing: false },
  bf16: { engine: { ...LOCAL, dtype: "bf16" }, packing: true },
  "torch-fp32": { engine: { ...TORCH, dtype: "fp32" }, packing: true },
  "torch-bf16": { engine: { ...TORCH, dtype: "bf16" }, packing: true },
} as const
type Run = keyof typeof RUNS
/** What is compared, where both were made. */
const PAIRS: readonly (readonly [Run, Run])[] = [
  ["fp32", "control"],
  ["fp32", "bf16"],
  ["fp32", "torch-fp32"],
  ["torch-fp32", "torch-bf16"],
]

/** Of question and answer: a hundred steps of two such rows take four minutes of one core. */
const MOST_CHARACTERS = 400
const STEPS_OF_A_LINE = 10
const HELD_OUT_ROWS = 16

interface Trajectory {
  /** Of each step's supervised tokens, nats. */
  readonly nll: readonly number[]
  readonly loss: readonly number[]
  readonly supervised: readonly number[]
  /** Of the held-out rows at the end. */
  readonly heldOut: { readonly own: number; readonly fp32: number }
  readonly cpuSeconds: number
}

interface Settings {
  readonly model: string
  readonly steps: number
  readonly rows: number
  readonly lora: boolean
  readonly objective: string
}

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      model: { type: "string" },
      steps: { type: "string", default: "100" },
      rows: { type: "string", default: "2" },
      lora: { type: "boolean", default: false },
      objective: { type: "string", default: "dft" },
      file: { type: "string" },
      only: { type: "string" },
      control: { type: "boolean", default: false },
      torch: { type: "boolean", default: false },
    },
  })
  const { model, file, lora, objective } = values
  if (!model || !existsSync(GSM8K)) {
    console.log("absent: --model FOLDER, or ../shared; nothing measured")
    return
  }
  const asked = values.only?.split(",") ?? [
    ...["fp32", "bf16"],
    ...(values.control ? ["control"] : []),
    ...(values.torch ? ["torch-fp32", "torch-bf16"] : []),
  ]
  const settings = {
    model,
    steps: Number(values.steps),
    rows: Number(values.rows),
    lora,
    objective,
  }
  const folder = mkdtempSync(join(tmpdir(), "dftune-bench-nll-"))
  const known: Partial<Record<Run, Trajectory>> =
    file && existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : {}
  try {
    for (const name of (Object.keys(RUNS) as Run[]).filter((each) => asked.includes(each))) {
      known[name] ??= await trajectory(folder, name, settings)
      if (file) writeFileSync(file, JSON.stringify(known))
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  for (const [one, other] of PAIRS)
    if (known[one] && known[other]) report([one, known[one]], [other, known[other]])
  console.log(JSON.stringify({ bench: "nll", ...known }))
}

async function trajectory(
  folder: string,
  name: Run,
  { model, steps, rows, lora, objective }: Settings,
): Promise<Trajectory> {
  const { engine, packing } = RUNS[name]
  const config = {
    model,
    ...(lora ? { adapter: { type: "lora", r: 8, lora_alpha: 16 } } : {}),
    data: {
      train: [chats(folder, GSM8K, rows * steps, MOST_CHARACTERS)],
      eval: [chats(folder, GSM8K, HELD_OUT_ROWS, MOST_CHARACTERS, rows * steps)],
      ...{ max_length: 512, packing },
    },
    ...{ objective, batch_size: rows, max_steps: steps, save_steps: 0, eval_steps: 0 },
    learning_rate: lora ? 1e-4 : 1e-5,
    engine,
    output_dir: join(folder, "run"),
  }
  const path = join(folder, `${name}.json`)
  writeFileSync(path, JSON.stringify(config))
  const out = await scriptLines("train-once.ts", [path])
  const lines = out.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line))
  const all = lines.filter(({ step }) => step)
  const evaluated = lines.filter(({ eval: set }) => set !== undefined)
  const own = evaluated.findLast(({ eval: set }) => !set.startsWith("fp32/")).nll
  return {
    nll: all.map(({ nll }) => nll),
    loss: all.map(({ loss }) => loss),
    supervised: all.map(({ supervised }) => supervised),
    // in float32 the last one, where there are two
    heldOut: { own, fp32: evaluated.at(-1).nll },
    cpuSeconds: lines.at(-1).cpu_seconds,
  }
}

const percent = (x: number) => `${(100 * x).toFixed(3)} %`
const apart = (a: number, b: number) => Math.abs(b / a - 1)

/** Over all supervised tokens of some steps. */
function mean({ supervised }: Trajectory, values: readonly number[], from = 0, to = values.length) {
  const tokens = supervised.slice(from, to)
  const sum = tokens.reduce((all, count, i) => all + count * values[from + i]!, 0)
  return sum / tokens.reduce((all, count) => all + count, 0)
}

function report(
  [first, fp32]: readonly [Run, Trajectory],
  [name, other]: readonly [Run, Trajectory],
): void {
  console.log(`${first} and ${name}:`)
  for (let from = 0; from < fp32.nll.length; from += STEPS_OF_A_LINE) {
    const to = Math.min(from + STEPS_OF_A_LINE, fp32.nll.length)
    const [a, b] = [mean(fp32, fp32.nll, from, to), mean(other, other.nll, from, to)]
    console.log(
      `  steps ${from + 1} to ${to}: nll ${a.toFixed(4)} ${b.toFixed(4)}, ${percent(apart(a, b))}`,
    )
  }
  const steps = fp32.nll.map((nll, i) => apart(nll, other.nll[i]!))
  const nll = [mean(fp32, fp32.nll), mean(other, other.nll)] as const
  const loss = [mean(fp32, fp32.loss), mean(other, other.loss)] as const
  const held = [fp32.heldOut.own, other.heldOut.fp32] as const
  const pair = ([a, b]: readonly [number, number]) =>
    `${a.toFixed(5)} and ${b.toFixed(5)}, ${percent(apart(a, b))}`
  console.log(
    `  all: nll ${pair(nll)}; loss ${pair(loss)}\n` +
      `  furthest step ${steps.indexOf(Math.max(...steps)) + 1}, ${percent(Math.max(...steps))}\n` +
      `  held-out rows at the end: in float32 ${pair(held)}; ` +
      `of the same weights in ${name} ${other.heldOut.own.toFixed(5)}\n` +
      `  CPU ${fp32.cpuSeconds.toFixed(0)} and ${other.cpuSeconds.toFixed(0)} s`,
  )
}
