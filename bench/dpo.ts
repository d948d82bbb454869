/**
 * DPO beside TRL's DPOTrainer with precomputed references: real tokens a second (of both sides) and
 * peak memory on the same pairs, one thread each, processes in turns.
 *
 *     npm run bench -- dpo [--model FOLDER] [--steps 3] [--pairs 4] [--repeats 1] [--only full|lora]
 *                          [--dtypes fp32,bf16] [--trl fp32,bf16]
 *
 * Pairs are GSM8K's questions with their answers, rejected with other numbers in them. Without
 * --model Qwen2.5-0.5B's shape. Python is DFTUNE_PYTHON or /opt/torch-venv/bin/python. The reference's
 * pass is in the peak and in no step; a process's rate is the median of its steps after the first. With
 * one thread the rate by CPU time is what a quiet machine would show.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { GSM8K } from "./setup/gsm8k-chats.ts"
import { outputLines } from "./setup/output-lines.ts"
import { PYTHON, qwenModel } from "./setup/qwen-model.ts"
import {
  type Contender,
  inTurns,
  MAX_LENGTH,
  measuredTrl,
  PRECISIONS,
  type Setup,
  trainedOnce,
} from "./trl.ts"

type Precision = keyof typeof PRECISIONS

/** Of `source`, a file of GSM8K. */
function writePairs(path: string, source: string, count: number): void {
  const lines = readFileSync(source, "utf8").split("\n").slice(0, count)
  const pairs = lines.map((line) => {
    const { question, answer } = JSON.parse(line)
    const says = (role: string, content: string) => [{ role, content }]
    const wrong = answer.replaceAll(/\d+/g, (digits: string) => String(Number(digits) * 3 + 1))
    const [chosen, rejected] = [says("assistant", answer), says("assistant", wrong)]
    return JSON.stringify({ prompt: says("user", question), chosen, rejected })
  })
  writeFileSync(path, `${pairs.join("\n")}\n`)
}

interface DpoSetup extends Setup {
  readonly pairs: number
}

function ours(
  { folder, model, source, steps, pairs }: DpoSetup,
  dtype: Precision,
  mode: string,
): Contender {
  const config = {
    model,
    ...(mode === "lora" ? { adapter: { type: "lora", r: 8, lora_alpha: 16 } } : {}),
    data: { train: [{ path: source }], max_length: MAX_LENGTH },
    objective: "dpo",
    batch_size: pairs,
    learning_rate: 1e-6,
    max_steps: steps,
    save_steps: 0,
    eval_steps: 0,
    engine: { name: "onnx", device: "cpu", dtype, threads: 1 },
    output_dir: join(folder, `run-${mode}`),
  }
  return {
    name: `dftune ${PRECISIONS[dtype]}, ${mode}`,
    measure: () => trainedOnce(folder, `${mode}-${dtype}`, config),
  }
}

function theirs(
  { folder, model, source, steps, pairs }: DpoSetup,
  dtype: Precision,
  mode: string,
): Contender {
  const script = fileURLToPath(new URL("dpo.py", import.meta.url))
  const args = [script, model, source, dtype, mode, `${pairs}`, `${steps}`, `${MAX_LENGTH}`]
  return {
    name: `TRL ${PRECISIONS[dtype]}, ${mode}`,
    measure: async () => measuredTrl(await outputLines(PYTHON, args, folder)),
  }
}

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      model: { type: "string" },
      steps: { type: "string", default: "3" },
      pairs: { type: "string", default: "4" },
      repeats: { type: "string", default: "1" },
      only: { type: "string" },
      dtypes: { type: "string", default: "fp32,bf16" },
      trl: { type: "string", default: "fp32,bf16" },
    },
  })
  const model = values.model ?? qwenModel()
  if (!model || !existsSync(GSM8K) || !existsSync(PYTHON)) {
    console.log("absent: Python with TRL, a model or ../shared; nothing measured")
    return
  }
  const folder = mkdtempSync(join(tmpdir(), "dftune-bench-dpo-"))
  const [steps, pairs] = [Number(values.steps), Number(values.pairs)]
  const source = join(folder, "pairs.jsonl")
  writePairs(source, GSM8K, steps * pairs)
  const setup = { folder, model, source, steps, pairs }
  const [dtypes, trl] = [values.dtypes, values.trl].map((list) => list.split(",") as Precision[])
  try {
    const contenders = ["full", "lora"]
      .filter((mode) => !values.only || mode === values.only)
      .flatMap((mode) => [
        ...dtypes!.map((dtype) => ours(setup, dtype, mode)),
        ...trl!.map((dtype) => theirs(setup, dtype, mode)),
      ])
    const results = await inTurns(contenders, Number(values.repeats))
    console.table(results)
    console.log(JSON.stringify(results))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
