import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { afterAll, describe, expect, test } from "vitest"
import { Decoder, loadModel } from "../../src/models/index.ts"
import { objectiveFromConfig } from "../../src/objectives/index.ts"
import type { StepEvent } from "../../src/run/events.ts"
import { float32, openDevice } from "../../src/runtime/index.ts"
import { Policy } from "../../src/train/policy.ts"
import { trainSteps } from "../../src/train/trainer.ts"
import { fixedOrder, memoryRows, type PlainRow } from "./memory-rows.ts"

const GOLDEN = fileURLToPath(new URL("../../golden/", import.meta.url))
const device = await openDevice({ device: "cpu", threads: 2 })
afterAll(() => device.release())

type Step = Pick<StepEvent, "loss" | "nll" | "grad_norm" | "learning_rate">
interface Trajectory {
  readonly settings: { readonly learning_rate: number; readonly batch_size: number }
  readonly rows: readonly PlainRow[]
  readonly order: readonly number[]
  readonly full: Readonly<Record<string, { readonly steps: readonly Step[] }>>
}

const OBJECTIVES = {
  sft: "sft",
  dft: "dft",
  power: { name: "power", a: 0.5 },
  threshold: { name: "threshold", tau: 0.2 },
  alpha: { name: "alpha", a: 0.5 },
} as const

async function trajectory(
  family: string,
  golden: Trajectory,
  objective: keyof typeof OBJECTIVES,
  capacity: number,
) {
  const { config, weights } = await loadModel(`${GOLDEN}models/${family}`)
  const shapes = new Map([...weights].map(([name, data]) => [name, data]))
  const { decoderParameters } = await import("../../src/models/parameters.ts")
  const host = new Map(
    decoderParameters(config.shape).map(({ name, shape }) => [
      name,
      float32(shape, shapes.get(name)!),
    ]),
  )
  const decoder = await Decoder.open({ device, shape: config.shape, weights: host, capacity })
  const policy = await Policy.open(decoder, {
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-8,
    weightDecay: 0.01,
  })
  const steps: StepEvent[] = []
  const events = trainSteps({
    policy,
    objective: objectiveFromConfig(OBJECTIVES[objective] as never),
    rows: memoryRows(golden.rows),
    order: fixedOrder(golden.order, golden.settings.batch_size, golden.rows.length),
    evalSets: [],
    save: async () => "nowhere",
    settings: {
      learningRate: golden.settings.learning_rate,
      schedule: "cosine",
      warmupRatio: 0.1,
      maxGradNorm: 1,
      microBatchTokens: capacity,
      packing: true,
      seed: 0,
      onNonfinite: "stop",
      saveSteps: 0,
      evalSteps: 0,
      sampleSteps: null,
    },
  })
  for await (const event of events) if (event.type === "step") steps.push(event as StepEvent)
  await policy.release()
  return steps
}

describe.each(["qwen2", "llama", "qwen3"])("20 steps of %s are PyTorch's", (family) => {
  const golden = JSON.parse(
    readFileSync(`${GOLDEN}trajectory/${family}.json`, "utf8"),
  ) as Trajectory

  test.each(Object.keys(OBJECTIVES) as (keyof typeof OBJECTIVES)[])("%s", async (objective) => {
    const steps = await trajectory(family, golden, objective, 128)
    const expected = golden.full[objective]!.steps
    expect(steps.length).toBe(expected.length)
    for (const [i, step] of expected.entries()) {
      for (const key of ["loss", "nll", "grad_norm", "learning_rate"] as const) {
        const error = Math.abs(steps[i]![key] - step[key]) / Math.max(1e-6, Math.abs(step[key]))
        expect(error, `step ${i + 1} ${key}: ${steps[i]![key]} for ${step[key]}`).toBeLessThan(1e-3)
      }
    }
  })
})
