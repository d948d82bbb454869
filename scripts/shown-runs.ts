/** A folder of small real runs of the demo's model, for the pictures of the docs. */
import { mkdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { type ConfigInput, parseConfig } from "../src/config/index.ts"
import { writeDemoData } from "../src/demo/data.ts"
import { answerOf, problem, solution, statedAnswer, wordPrompt } from "../src/demo/problems.ts"
import { train } from "../src/engines/index.ts"
import { randomStream } from "../src/random.ts"
import { DEMO_MODEL } from "./sum-rows.ts"

const SIZES = { trainRows: 400, questions: 24, newFacts: 20 }
const RANGE = { minSteps: 2, maxSteps: 3, maxOperand: 20, maxValue: 99 }
const user = (content: string) => ({ role: "user", content })
const assistant = (content: string) => ({ role: "assistant", content })

/** Pairs of a right and a wrong solution, and prompts with their answers. */
function writeSums(folder: string): { readonly pairs: string; readonly prompts: string } {
  const random = randomStream(3, "shown runs")
  const tasks = Array.from({ length: 160 }, () => problem(random, RANGE))
  const lines = (rows: readonly object[]) =>
    `${rows.map((row) => JSON.stringify(row)).join("\n")}\n`
  const pairs = tasks.map((task) => {
    const right = solution(random, task, { style: "verbose" })
    const wrong = right.replaceAll(statedAnswer(right) ?? "0", String(answerOf(task) + 1))
    const prompt = [user(wordPrompt(random, task))]
    return { prompt, chosen: [assistant(right)], rejected: [assistant(wrong)] }
  })
  const prompts = tasks.map((task) => {
    return { messages: [user(wordPrompt(random, task))], answer: String(answerOf(task)) }
  })
  const write = (name: string, rows: readonly object[]) => {
    writeFileSync(join(folder, name), lines(rows))
    return join(folder, name)
  }
  return { pairs: write("pairs.jsonl", pairs), prompts: write("prompts.jsonl", prompts) }
}

/** Trains them one after the other: about a minute of two quiet cores. */
export async function makeShownRuns(folder: string): Promise<void> {
  const data = join(folder, "data")
  mkdirSync(data, { recursive: true })
  const [noisy] = await writeDemoData(data, SIZES)
  const { pairs, prompts } = writeSums(data)
  const common = { model: DEMO_MODEL, lr_scheduler: "cosine" } as const
  const supervised = {
    ...common,
    data: { train: [{ path: noisy!.train }], eval: [{ path: noisy!.eval }], max_length: 256 },
    ...{ batch_size: 32, max_steps: 60, learning_rate: 5e-4 },
    ...{ eval_steps: 10, save_steps: 20 },
    generate_samples: { prompts: 4, every: 20, max_new_tokens: 60 },
  } satisfies Omit<ConfigInput, "output_dir">
  const runs: Readonly<Record<string, Omit<ConfigInput, "output_dir">>> = {
    "sums-sft": { ...supervised, objective: "sft" },
    "sums-dft": { ...supervised, objective: "dft" },
    "sums-dft-lora": {
      ...supervised,
      ...{ objective: "dft", adapter: { type: "lora", r: 8 }, learning_rate: 2e-3, max_steps: 30 },
    },
    "pairs-dpo": {
      ...common,
      data: { train: [{ path: pairs }], max_length: 256 },
      ...{ objective: "dpo", batch_size: 16, max_steps: 24, learning_rate: 1e-4 },
      ...{ eval_steps: 0, save_steps: 0 },
    },
    "answers-grpo": {
      ...common,
      data: { train: [{ path: prompts }], max_length: 256 },
      ...{ objective: "grpo", batch_size: 64, max_steps: 12, learning_rate: 4e-4 },
      ...{ eval_steps: 0, save_steps: 0, micro_batch_tokens: 1024 },
      rollout: { num_generations: 8, max_new_tokens: 80 },
    },
  }
  for (const [name, config] of Object.entries(runs)) {
    console.error(name)
    const whole = parseConfig({ ...config, output_dir: join(folder, name) } as ConfigInput)
    const run = train(whole)
    for await (const _ of run) {
      // until it has ended
    }
    await run.result
  }
}
