import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, test } from "vitest"
import { type ConfigInput, parseConfig } from "../../src/config/index.ts"
import { train } from "../../src/engines/index.ts"
import type { StepEvent } from "../../src/run/events.ts"
import { runHere } from "../../src/train/run.ts"
import { PYTHON, WITH_PYTHON } from "../engines/torch/python.ts"
import { tinyModel } from "./tiny-model.ts"

const folder = mkdtempSync(join(tmpdir(), "dftune-row-weights-"))
process.env.DFTUNE_CACHE = join(folder, "cache")
afterAll(() => rmSync(folder, { recursive: true }))
const model = tinyModel(folder, "qwen2")

const A = { prompt: "what is 1 + 2? ", completion: "it is three." }
const B = { prompt: "and 3 + 4? ", completion: "7." }
let runs = 0

/** One step over all rows. */
async function step(rows: readonly object[], more: Partial<ConfigInput>): Promise<StepEvent> {
  const path = join(folder, `${runs++}.jsonl`)
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""))
  const config = parseConfig({
    ...{ model, output_dir: join(folder, `run-${runs}`), max_steps: 2, batch_size: rows.length },
    ...{ warmup_ratio: 0, save_steps: 0, learning_rate: 1e-2, ...more },
    data: {
      train: [path],
      columns: rows.every((row) => "times" in row) ? { row_weight: "times" } : {},
    },
  })
  const steps: StepEvent[] = []
  // the local engine in this thread: a thread of its own takes longer to start than to train
  const events = config.engine.name === "onnx" ? runHere(config) : train(config)
  for await (const event of events) if (event.type === "step") steps.push(event)
  expect(steps).toHaveLength(2)
  return steps[1]!
}

const weighed = [
  { ...A, times: 2 },
  { ...B, times: 1 },
]
/**
 * Of the second step: the first one's gradients were alike, too. Means over tokens count each once.
 */
const NUMBERS = ["loss", "grad_norm"] as const

function expectAlike(a: StepEvent, b: StepEvent): void {
  for (const name of NUMBERS) expect(a[name]!, name).toBeCloseTo(b[name]!, 4)
}

const OBJECTIVES: ConfigInput["objective"][] = [
  "sft",
  "dft",
  { name: "dft", normalization: "sequences" },
  { name: "dft", normalization: "weights" },
]

test.each(OBJECTIVES)("a weight of 2 is the row written twice: %j", async (objective) => {
  expectAlike(await step(weighed, { objective }), await step([A, A, B], { objective }))
})

test("a weight of 0 is the row left out, 0.5 is between", async () => {
  const zero = await step(
    [
      { ...A, times: 0 },
      { ...B, times: 3 },
    ],
    {},
  )
  expectAlike(zero, await step([B], {}))
  const half = await step(
    [
      { ...A, times: 0.5 },
      { ...B, times: 0.5 },
    ],
    {},
  )
  expectAlike(half, await step([A, B], {}))
})

describe.runIf(PYTHON)(WITH_PYTHON, () => {
  const engine = { name: "torch", nproc_per_node: 1, dtype: "fp32", python: PYTHON! } as const
  test("a weight of 2 is the row written twice there, too", { timeout: 180_000 }, async () => {
    const objective = { name: "dft" }
    const there = await step(weighed, { objective, engine })
    expectAlike(there, await step(weighed, { objective }))
    expectAlike(there, await step([A, A, B], { objective, engine }))
  })
})
