/**
 * Whether training in bfloat16 goes the way that float32 goes: the NLL of each step of two runs over
 * the same short GSM8K rows, DFT, full fine-tuning or LoRA, one thread.
 *
 *     npm run bench -- nll --model FOLDER [--steps 100] [--rows 2] [--lora] [--file FILE] [--only fp32]
 *
 * With a file, what was measured is kept there, and a precision that is in it is not run again: the
 * two runs may be made at two times (--only).
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { chats, GSM8K } from "./setup/gsm8k-chats.ts"
import { scriptLines } from "./setup/output-lines.ts"

const DTYPES = ["fp32", "bf16"] as const
/** Of question and answer: a hundred steps of two such rows take four minutes of one core. */
const MOST_CHARACTERS = 400
const STEPS_OF_A_LINE = 10

interface Trajectory {
  /** Of each step's supervised tokens, nats. */
  readonly nll: readonly number[]
  readonly loss: readonly number[]
  readonly supervised: readonly number[]
  readonly cpuSeconds: number
}

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      model: { type: "string" },
      steps: { type: "string", default: "100" },
      rows: { type: "string", default: "2" },
      lora: { type: "boolean", default: false },
      file: { type: "string" },
      only: { type: "string" },
    },
  })
  const { model, file } = values
  if (!model || !existsSync(GSM8K)) {
    console.log("absent: --model FOLDER, or ../shared; nothing measured")
    return
  }
  const [steps, rows] = [Number(values.steps), Number(values.rows)]
  const folder = mkdtempSync(join(tmpdir(), "dftune-bench-nll-"))
  const known: Partial<Record<(typeof DTYPES)[number], Trajectory>> =
    file && existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : {}
  try {
    for (const dtype of DTYPES.filter((each) => !values.only || each === values.only)) {
      known[dtype] ??= await trajectory(folder, { model, steps, rows, dtype, lora: values.lora })
      if (file) writeFileSync(file, JSON.stringify(known))
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  if (known.fp32 && known.bf16) report(known.fp32, known.bf16)
}

interface Settings {
  readonly model: string
  readonly steps: number
  readonly rows: number
  readonly dtype: string
  readonly lora: boolean
}

async function trajectory(
  folder: string,
  { model, steps, rows, dtype, lora }: Settings,
): Promise<Trajectory> {
  const config = {
    model,
    ...(lora ? { adapter: { type: "lora", r: 8, lora_alpha: 16 } } : {}),
    data: { train: [chats(folder, GSM8K, rows * steps, MOST_CHARACTERS)], max_length: 512 },
    objective: "dft",
    batch_size: rows,
    learning_rate: lora ? 1e-4 : 1e-5,
    max_steps: steps,
    save_steps: 0,
    eval_steps: 0,
    engine: { name: "onnx", device: "cpu", threads: 1, dtype },
    output_dir: join(folder, "run"),
  }
  const path = join(folder, `${dtype}.json`)
  writeFileSync(path, JSON.stringify(config))
  const out = await scriptLines("train-once.ts", [path])
  const lines = out.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line))
  const all = lines.filter(({ step }) => step)
  return {
    nll: all.map(({ nll }) => nll),
    loss: all.map(({ loss }) => loss),
    supervised: all.map(({ supervised }) => supervised),
    cpuSeconds: lines.at(-1).cpu_seconds,
  }
}

function report(fp32: Trajectory, bf16: Trajectory): void {
  const percent = (x: number) => `${(100 * x).toFixed(3)} %`
  const apart = (a: number, b: number) => Math.abs(b / a - 1)
  const mean = ({ nll, supervised }: Trajectory, from = 0, to = nll.length) => {
    const tokens = supervised.slice(from, to)
    const sum = tokens.reduce((all, count, i) => all + count * nll[from + i]!, 0)
    return sum / tokens.reduce((all, count) => all + count, 0)
  }
  for (let from = 0; from < fp32.nll.length; from += STEPS_OF_A_LINE) {
    const to = Math.min(from + STEPS_OF_A_LINE, fp32.nll.length)
    const [a, b] = [mean(fp32, from, to), mean(bf16, from, to)]
    console.log(
      `steps ${from + 1} to ${to}: nll ${a.toFixed(4)} ${b.toFixed(4)}, ${percent(apart(a, b))}`,
    )
  }
  const steps = fp32.nll.map((nll, i) => apart(nll, bf16.nll[i]!))
  const whole = [mean(fp32), mean(bf16)] as const
  console.log(
    `all: nll ${whole[0].toFixed(5)} fp32, ${whole[1].toFixed(5)} bf16, ${percent(apart(...whole))}; ` +
      `furthest step ${steps.indexOf(Math.max(...steps)) + 1}, ${percent(Math.max(...steps))}; ` +
      `CPU ${fp32.cpuSeconds.toFixed(0)} and ${bf16.cpuSeconds.toFixed(0)} s`,
  )
  console.log(JSON.stringify({ bench: "nll", fp32, bf16 }))
}
