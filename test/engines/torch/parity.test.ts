import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { type ConfigInput, parseConfig } from "../../../src/config/index.ts"
import type { Run } from "../../../src/engines/engine.ts"
import { train } from "../../../src/engines/index.ts"
import { trainWithTorch } from "../../../src/engines/torch/torch-run.ts"
import type { EvalEvent, RunEvent, SampleEvent, StepEvent } from "../../../src/run/events.ts"
import { sumRows, tinyModel } from "../../train/tiny-model.ts"
import { PYTHON, WITH_PYTHON } from "./python.ts"

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "dftune-torch-parity-"))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const own = {
  name: "own",
  expression: {
    version: 1,
    nodes: [
      { op: "input", name: "logp" },
      { op: "exp", args: [0] },
      { op: "sqrt", args: [1] },
      { op: "detach", args: [2] },
      { op: "neg", args: [0] },
      { op: "mul", args: [3, 4] },
      { op: "input", name: "entropy" },
      { op: "constant", value: 0.05 },
      { op: "mul", args: [7, 6] },
      { op: "add", args: [5, 8] },
    ],
    output: 9,
  },
} as const
const lora = { adapter: { r: 4, lora_alpha: 8 }, learning_rate: 1e-2 }
const whole = {
  ...lora,
  adapter: {
    ...lora.adapter,
    target_modules: ".*\\.(q_proj|up_proj)",
    exclude_modules: ["layers.0.mlp.up_proj"],
    rank_pattern: { q_proj: 2 },
    alpha_pattern: { "layers\\.1\\.self_attn\\.q_proj": 3 },
    modules_to_save: ["embed_tokens", "lm_head", "model.norm", "layers.1.mlp.up_proj"],
  },
}
const GROUPS = {
  freeze: ["layers.0.mlp"],
  param_groups: [{ params: "lm_head", learning_rate: 1e-4, weight_decay: 0.1 }],
}
/** The first evaluation is the best: the loss falls. */
const BEST = {
  ...{ ema_decay: 0.9, load_best_model_at_end: true, early_stopping_patience: 3 },
  greater_is_better: true,
}
const CASES: readonly { name: string; more: Partial<ConfigInput> }[] = [
  { name: "sft", more: { objective: "sft" } },
  { name: "dft", more: { objective: "dft" } },
  { name: "asft", more: { objective: "asft" } },
  { name: "own", more: { objective: own as never } },
  { name: "lora", more: { objective: "dft", ...lora } },
  ...(["lion", "adafactor", "muon", "adamw-8bit"] as const).map((optimizer) => ({
    name: optimizer,
    more: { objective: "dft" as const, optimizer, learning_rate: 5e-4, ...GROUPS },
  })),
  { name: "new-tokens", more: { objective: "sft", ...lora, model_tokens: ["what is"] } },
  {
    name: "dora",
    more: { objective: "dft", ...lora, adapter: { ...lora.adapter, use_dora: true } },
  },
  {
    name: "pissa",
    more: { objective: "asft", ...lora, adapter: { ...lora.adapter, init_lora_weights: "pissa" } },
  },
  { name: "lora-whole", more: { objective: "dft", ...whole } },
]

async function eventsOf(run: Run): Promise<{ steps: StepEvent[]; samples: SampleEvent[] }> {
  const steps: StepEvent[] = []
  const samples: SampleEvent[] = []
  for await (const event of run) {
    if (event.type === "step") steps.push(event)
    if (event.type === "sample") samples.push(event)
  }
  await run.result
  return { steps, samples }
}

const SAME = [
  "loss",
  "nll",
  "mean_p",
  "mean_weight",
  "entropy",
  "grad_norm",
  "learning_rate",
] as const

function expectSame(a: readonly StepEvent[], b: readonly StepEvent[]): void {
  expect(a).toHaveLength(20)
  expect(b).toHaveLength(20)
  for (const [i, step] of a.entries()) {
    for (const key of SAME) {
      const error = Math.abs(step[key]! - b[i]![key]!) / Math.max(1e-6, Math.abs(step[key]!))
      expect(error, `${key} of step ${i + 1}: ${step[key]} and ${b[i]![key]}`).toBeLessThan(1e-4)
    }
    expect(b[i]).toMatchObject({
      tokens: step.tokens,
      supervised_tokens: step.supervised_tokens,
      epoch: step.epoch,
    })
  }
}

/** The local engine tells samples as they end, the worker by prompt. */
const inOrder = (events: readonly SampleEvent[]) =>
  events.toSorted((a, b) => a.step - b.step || a.prompt.localeCompare(b.prompt))

function expectSameSamples(a: readonly SampleEvent[], b: readonly SampleEvent[]): void {
  const said = (events: readonly SampleEvent[]) =>
    events.map(({ step, prompt, completion, tokens }) => ({ step, prompt, completion, tokens }))
  const [first, second] = [inOrder(a), inOrder(b)]
  expect(first).toHaveLength(3 * 3)
  expect(said(second)).toEqual(said(first))
  for (const [i, { probabilities }] of first.entries()) {
    for (const [k, p] of probabilities.entries()) {
      expect(Math.abs(p - second[i]!.probabilities[k]!) / p).toBeLessThan(1e-3)
    }
  }
}

describe.skipIf(!PYTHON)(`20 steps in float32, ${WITH_PYTHON}`, () => {
  test.each(CASES)(
    "$name, samples too: local engine, one process and two",
    { timeout: 400_000 },
    async ({ name, more }) => {
      const config = (engine: ConfigInput["engine"], run: string) =>
        parseConfig({
          model: tinyModel(folder),
          data: { train: [{ path: sumRows(folder, 40) }], max_length: 64 },
          learning_rate: 2e-3,
          batch_size: 6,
          micro_batch_tokens: 128,
          max_steps: 20,
          save_steps: 0,
          eval_steps: 0,
          generate_samples: { prompts: 3, every: 10, max_new_tokens: 12 },
          ...more,
          engine,
          output_dir: join(folder, `${name}-${run}`),
        })
      const torch = (nproc_per_node: number) =>
        ({ name: "torch", dtype: "fp32", nproc_per_node, python: PYTHON! }) as const
      const local = await eventsOf(train(config({ name: "onnx", device: "cpu" }, "local")))
      const one = await eventsOf(trainWithTorch(config(torch(1), "one")))
      expectSame(local.steps, one.steps)
      expectSameSamples(local.samples, one.samples)
      const two = await eventsOf(trainWithTorch(config(torch(2), "two")))
      expectSame(one.steps, two.steps)
      expectSameSamples(one.samples, two.samples)
    },
  )

  test("an average, the best step and the end of waiting are the same", {
    timeout: 400_000,
  }, async () => {
    const told = async (engine: ConfigInput["engine"], run: string) => {
      const events: RunEvent[] = []
      const config = parseConfig({
        ...{ model: tinyModel(folder), objective: "sft", learning_rate: 1e-2, batch_size: 6 },
        data: { train: [{ path: sumRows(folder, 40) }], eval_split: 6, max_length: 64 },
        ...{ micro_batch_tokens: 128, max_steps: 20, eval_steps: 2, save_steps: 3, ...BEST },
        ...{ engine, output_dir: join(folder, `best-${run}`) },
      })
      const started = config.engine.name === "torch" ? trainWithTorch(config) : train(config)
      for await (const event of started) events.push(event)
      await started.result
      // what is told of the rows comes beside the worker's own events
      const ofRows = (event: RunEvent) => event.type === "warning" && event.code === "few-steps"
      expect(events.filter(ofRows)).toHaveLength(1)
      return events.filter((event) => event.type !== "histogram" && !ofRows(event))
    }
    const places = (events: readonly RunEvent[]) =>
      events.map((event) => `${event.step} ${event.type} ${"code" in event ? event.code : ""}`)
    const here = await told({ name: "onnx", device: "cpu" }, "local")
    const last = here.at(-1)!
    expect(last.step).toBe(8)
    const evals = (events: readonly RunEvent[]) => events.filter(({ type }) => type === "eval")
    for (const nproc_per_node of [1, 2]) {
      const engine = { name: "torch", dtype: "fp32", nproc_per_node, python: PYTHON! } as const
      const there = await told(engine, `torch-${nproc_per_node}`)
      expect(places(there)).toEqual(places(here))
      for (const [i, event] of evals(here).entries()) {
        const [a, b] = [event, evals(there)[i]!].map((event) => (event as EvalEvent).loss!)
        expect(Math.abs(a! - b!) / a!).toBeLessThan(1e-4)
      }
    }
  })

  test("both go on from an adapter, and compare with it as it was", {
    timeout: 400_000,
  }, async () => {
    const config = (engine: ConfigInput["engine"], run: string, more: Partial<ConfigInput>) =>
      parseConfig({
        model: tinyModel(folder),
        data: { train: [{ path: sumRows(folder, 40) }], max_length: 64 },
        ...{ learning_rate: 1e-2, batch_size: 6, micro_batch_tokens: 128, max_steps: 3 },
        ...{ save_steps: 0, eval_steps: 0, engine, output_dir: join(folder, `on-${run}`), ...more },
      })
    const local = { name: "onnx", device: "cpu" } as const
    const torch = { name: "torch", dtype: "fp32", nproc_per_node: 1, python: PYTHON! } as const
    const adapter = { ...whole.adapter, use_dora: true }
    await eventsOf(train(config(local, "first", { objective: "sft", adapter })))
    const on = { objective: "asft", adapter: { path: join(folder, "on-first") } } as const
    const [here] = (await eventsOf(train(config(local, "local", on)))).steps
    const there = (await eventsOf(trainWithTorch(config(torch, "torch", on)))).steps
    expect(there).toHaveLength(3)
    for (const key of SAME) {
      const error = Math.abs(here![key]! - there[0]![key]!) / Math.max(1e-6, Math.abs(here![key]!))
      expect(error, `${key}: ${here![key]} and ${there[0]![key]}`).toBeLessThan(1e-4)
    }
  })
})
