/**
 * bfloat16 products beside float32 ones in whole training steps: CPU seconds of one thread, peak
 * memory and losses, on the same GSM8K rows as chats, Qwen2.5-0.5B's shape, DFT, four rows a step.
 *
 *     npm run bench -- precision [--steps 3] [--only full|lora]
 *
 * Processes run in turns, one thread each; CPU time does not mind other work on the machine.
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { chats, GSM8K } from "./setup/gsm8k-chats.ts"
import { scriptLines } from "./setup/output-lines.ts"
import { qwenModel } from "./setup/qwen-model.ts"
import { MAX_LENGTH, median, ROWS_PER_STEP } from "./trl.ts"

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      steps: { type: "string", default: "3" },
      only: { type: "string" },
      model: { type: "string" },
    },
  })
  const model = values.model ?? qwenModel()
  if (!model || !existsSync(GSM8K)) {
    console.log("absent: Python with transformers, or ../shared; nothing measured")
    return
  }
  const folder = mkdtempSync(join(tmpdir(), "dftune-bench-precision-"))
  const steps = Number(values.steps)
  try {
    for (const mode of ["lora", "full"].filter((m) => !values.only || m === values.only)) {
      for (const dtype of ["fp32", "bf16", "fp32", "bf16"]) {
        const config = {
          model,
          ...(mode === "lora" ? { adapter: { type: "lora", r: 8, lora_alpha: 16 } } : {}),
          data: {
            train: [chats(folder, GSM8K, ROWS_PER_STEP * steps * 2)],
            max_length: MAX_LENGTH,
          },
          objective: "dft",
          batch_size: ROWS_PER_STEP,
          learning_rate: 1e-5,
          max_steps: steps,
          save_steps: 0,
          eval_steps: 0,
          engine: { name: "onnx", device: "cpu", threads: 1, dtype },
          output_dir: join(folder, `run-${mode}`),
        }
        const path = join(folder, `${mode}.json`)
        writeFileSync(path, JSON.stringify(config))
        const out = await scriptLines("train-once.ts", [path])
        const lines = out.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line))
        const timed = lines.filter(({ step }) => step > 1)
        const seconds = median(timed.map(({ cpu_seconds }) => cpu_seconds))
        const nll = lines.filter(({ step }) => step).map(({ nll }) => nll.toFixed(4))
        console.log(
          `${mode} ${dtype}: ${seconds.toFixed(2)} CPU s a step, peak ${lines.at(-1).peak_gb.toFixed(2)} GB, nll ${nll.join(" ")}`,
        )
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
