/**
 * The torch engine beside TRL: real tokens a second and peak memory, bfloat16, DFT, Qwen2.5-0.5B's
 * shape, the same GSM8K rows as chats, four a step, in turns.
 *
 *     npm run bench -- torch [--steps 4] [--repeats 2] [--only full|lora]
 *     npm run bench -- torch --gpu      one GPU: bench/torch_gpu.py, with the share of the card's matrix rate
 *
 * Python is DFTUNE_PYTHON or /opt/torch-venv/bin/python. A process's rate is the median of its steps after the first.
 */
import { spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { parseConfig } from "../src/config/index.ts"
import { trainWithTorch } from "../src/engines/torch/torch-run.ts"
import { besideProject, PYTHON, qwenModel } from "./setup/qwen-model.ts"
import {
  type Contender,
  chats,
  MAX_LENGTH,
  type Measured,
  median,
  ROWS_PER_STEP,
  type Setup,
  theirs,
} from "./trl.ts"

function ours({ folder, model, source, steps }: Setup, mode: "full" | "lora"): Contender {
  const rows = chats(folder, source, ROWS_PER_STEP * steps * 2)
  let turn = 0
  return {
    name: `dftune torch bfloat16, ${mode}`,
    async measure(): Promise<Measured> {
      const config = parseConfig({
        model,
        ...(mode === "lora" ? { adapter: { type: "lora", r: 8, lora_alpha: 16 } } : {}),
        data: { train: [{ path: rows }], max_length: MAX_LENGTH },
        objective: "dft",
        batch_size: ROWS_PER_STEP,
        learning_rate: 1e-5,
        max_steps: steps,
        save_steps: 0,
        eval_steps: 0,
        engine: { name: "torch", dtype: "bf16", nproc_per_node: 1, python: PYTHON },
        output_dir: join(folder, `run-${mode}-${turn++}`),
      })
      const rates: number[] = []
      let peak = 0
      for await (const event of trainWithTorch(config)) {
        if (event.type !== "step") continue
        if (event.step > 1) rates.push(event.tokens_per_second)
        peak = event.memory_bytes
      }
      return { rates, peakGb: peak / 1e9 }
    },
  }
}

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      steps: { type: "string", default: "4" },
      repeats: { type: "string", default: "2" },
      only: { type: "string" },
      gpu: { type: "boolean", default: false },
    },
  })
  if (values.gpu) {
    const script = fileURLToPath(new URL("torch_gpu.py", import.meta.url))
    process.exitCode = spawnSync(PYTHON, [script], { stdio: "inherit" }).status ?? 1
    return
  }
  const model = qwenModel()
  const source = besideProject("shared/data/sft/gsm8k_train/train.jsonl")
  if (!model || !existsSync(source)) {
    console.log("absent: Python with transformers, or ../shared; nothing measured")
    return
  }
  const folder = mkdtempSync(join(tmpdir(), "dftune-bench-torch-"))
  const setup = { folder, model, source, steps: Number(values.steps) }
  const measured = new Map<string, Measured[]>()
  const modes = (["full", "lora"] as const).filter((m) => !values.only || m === values.only)
  for (const mode of modes) {
    const contenders = [ours(setup, mode), theirs(setup, "bf16", mode)]
    for (let repeat = 0; repeat < Number(values.repeats); repeat++) {
      for (const { name, measure } of contenders) {
        const result = await measure()
        console.error(
          `${name}: ${median(result.rates).toFixed(1)} tokens/s, ${result.peakGb.toFixed(2)} GB`,
        )
        measured.set(name, [...(measured.get(name) ?? []), result])
      }
    }
  }
  rmSync(folder, { recursive: true, force: true })
  const results = Object.fromEntries([...measured].map(([name, runs]) => [name, summary(runs)]))
  console.table(results)
  const ratios = modes.map((mode) => {
    const [mine, other] = [
      results[`dftune torch bfloat16, ${mode}`]!,
      results[`TRL bfloat16, ${mode}`]!,
    ]
    const speed = mine.tokens_per_second / other.tokens_per_second
    return { mode, times_as_fast: speed, share_of_memory: mine.peak_gb / other.peak_gb }
  })
  console.table(ratios)
  console.log(JSON.stringify({ results, ratios }))
}

function summary(runs: readonly Measured[]) {
  return {
    tokens_per_second: median(runs.flatMap(({ rates }) => rates)),
    peak_gb: Math.max(...runs.map(({ peakGb }) => peakGb)),
  }
}
