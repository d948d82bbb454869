import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { loadModel } from "../../src/models/files/index.ts"
import type { EvalEvent, StepEvent } from "../../src/run/events.ts"
import { afterEvaluation, type Best, type BestSettings } from "../../src/train/best-step.ts"
import { ran } from "./run-in-thread.ts"
import { sumRows, tinyModel } from "./tiny-model.ts"

const root = mkdtempSync(join(tmpdir(), "dftune-best-"))
let model: string
afterAll(() => rmSync(root, { recursive: true, force: true }))
beforeAll(() => {
  process.env.DFTUNE_CACHE = join(root, "cache")
  sumRows(root, 24)
  model = tinyModel(join(root, "base"))
})

const settings: BestSettings = {
  load_best_model_at_end: true,
  metric_for_best_model: "eval_loss",
  greater_is_better: null,
  early_stopping_patience: 2,
  early_stopping_threshold: 0,
}
const after = (values: readonly number[], more: Partial<BestSettings> = {}) =>
  values.reduce<Best | undefined>(
    (best, value, i) => afterEvaluation(best, { step: i + 1, value }, { ...settings, ...more }),
    undefined,
  )

describe("what the best evaluation is", () => {
  test("the lowest loss, the highest of all else but nll", () => {
    expect(after([3, 2, 4, 2.5])).toEqual({ step: 2, value: 2, waited: 2 })
    expect(after([0.3, 0.2, 0.4], { metric_for_best_model: "mean_p" })!.step).toBe(3)
    expect(after([3, 2], { metric_for_best_model: "sums.nll" })!.step).toBe(2)
    expect(after([3, 2], { greater_is_better: true })!.step).toBe(1)
  })
  test("too small a gain is the best, and counts as waiting, as in Transformers", () => {
    const best = after([3, 2.99, 2.98], { early_stopping_threshold: 0.5 })
    expect(best).toEqual({ step: 3, value: 2.98, waited: 2 })
  })
  test("what is no number is never better", () => {
    expect(after([3, Number.NaN, 2])).toEqual({ step: 3, value: 2, waited: 0 })
    expect(after([Number.NaN, 3, 4])).toEqual({ step: 2, value: 3, waited: 1 })
    expect(after([Number.NaN])).toBeUndefined()
  })
})

/** A rate that spoils the model after a while. */
const config = (name: string, more: Record<string, unknown>) =>
  parseConfig({
    ...{ model, objective: "sft", learning_rate: 0.3, lr_scheduler: "constant" },
    data: { train: [{ path: join(root, "sums.jsonl") }], eval_split: 6, max_length: 64 },
    ...{ batch_size: 6, max_steps: 12, save_steps: 2, save_total_limit: 1, eval_steps: 1 },
    ...{ warmup_ratio: 1, load_best_model_at_end: true },
    engine: { name: "onnx", device: "cpu", threads: 1 },
    output_dir: join(root, name),
    ...more,
  })

const evals = (events: readonly { type: string }[]) =>
  events.filter(
    (event): event is EvalEvent => event.type === "eval" && (event as EvalEvent).step > 0,
  )
const lowest = (found: readonly EvalEvent[]) =>
  found.reduce((best, event) => (event.loss! < best.loss! ? event : best))

describe.each([
  ["in full", {}],
  ["with an adapter", { adapter: { r: 2, lora_alpha: 4, modules_to_save: ["model.norm"] } }],
])("%s", (kind, more) => {
  const name = kind.replaceAll(" ", "-")
  const file = "adapter" in more ? "adapter_model.safetensors" : "model.safetensors"
  const modelOf = (run: string) => readFileSync(join(root, run, "model", file))

  test("the run ends early, and the result is the best step's", async () => {
    const run = await ran(config(name, { ...more, early_stopping_patience: 3 }))
    const found = evals(run.events)
    const best = lowest(found)
    expect(run.steps).toBe(best.step + 3)
    expect(run.steps).toBeLessThan(12)
    const codes = run.events.flatMap((event) => (event.type === "warning" ? [event.code] : []))
    expect(codes).toContain("stopped-early")
    const kept = join(root, name, "checkpoints", `step-${String(best.step).padStart(6, "0")}`)
    expect(existsSync(kept)).toBe(true)
    expect(modelOf(name).equals(readFileSync(join(kept, file)))).toBe(true)
  })

  test("resumed twice behind its best step, each time in another folder, it ends with the same bits", async () => {
    const again = { ...more, early_stopping_patience: 3, save_total_limit: null, save_steps: 1 }
    const whole = await ran(config(`${name}-whole`, again))
    const step = lowest(evals(whole.events)).step
    const uninterrupted = modelOf(`${name}-whole`)
    const of = (run: string, step: number) =>
      join(root, run, "checkpoints", `step-${String(step).padStart(6, "0")}`)
    await ran(config(`${name}-moved`, { ...again, resume: of(`${name}-whole`, step + 1) }))
    rmSync(join(root, `${name}-whole`), { recursive: true })
    const resume = of(`${name}-moved`, step + 2)
    const run = await ran(config(`${name}-resumed`, { ...again, resume }))
    expect(modelOf(`${name}-resumed`).equals(uninterrupted)).toBe(true)
    expect(run.steps).toBe(step + 3)
    rmSync(of(`${name}-moved`, step), { recursive: true })
    await expect(ran(config(`${name}-without`, { ...again, resume }))).rejects.toThrow(
      /the best evaluation so far was at step \d+, and its checkpoint .* is gone/,
    )
    expect(existsSync(join(root, `${name}-without`))).toBe(false)
  })
})

test("a metric that no evaluation has is refused by name", async () => {
  const run = ran(config("metric", { metric_for_best_model: "bleu", max_steps: 2 }))
  await expect(run).rejects.toThrow(/metric_for_best_model: bleu .* loss, nll or mean_p/)
})

test("without evaluations there is no best", () => {
  const none = () => config("none", { data: { train: [{ path: join(root, "sums.jsonl") }] } })
  expect(none).toThrow(/load_best_model_at_end: needs evaluations/)
})

describe("NEFTune", () => {
  const noisy = { max_steps: 2, load_best_model_at_end: false, learning_rate: 1e-3, batch_size: 18 }

  test("adds noise while training alone, the same to a resumed run", async () => {
    const plain = await ran(config("plain", { ...noisy, eval_steps: 0 }))
    const more = { ...noisy, neftune_noise_alpha: 5, save_steps: 1 }
    const noised = await ran(config("noised", more))
    const losses = ({ events }: typeof plain) =>
      events.flatMap((event) => (event.type === "step" ? [(event as StepEvent).loss] : []))
    expect(losses(noised)[0]).not.toBe(losses(plain)[0])
    expect(Math.abs(losses(noised)[0]! - losses(plain)[0]!)).toBeLessThan(0.5)
    const first = ({ events }: typeof plain) =>
      (events.find(({ type }) => type === "eval") as EvalEvent).loss
    expect(first(noised)).toBe(first(plain))
    const resume = join(root, "noised", "checkpoints", "step-000001")
    await ran(config("noised-on", { ...more, resume }))
    const [a, b] = await Promise.all(
      ["noised", "noised-on"].map((name) => loadModel(join(root, name, "model"))),
    )
    expect(b!.weights).toEqual(a!.weights)
  })

  test.each(["asft", "dpo", "psft"])(
    "%s compares log-probabilities: refused",
    async (objective) => {
      const run = ran(config(`noise-${objective}`, { ...noisy, objective, neftune_noise_alpha: 5 }))
      await expect(run).rejects.toThrow(/neftune_noise_alpha: 5 makes noise/)
    },
  )
})
