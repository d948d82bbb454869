import { readFileSync } from "node:fs"
import { afterAll, describe, expect, test } from "vitest"
import { openDevice } from "../../src/runtime/node.ts"
import { apart, GOLDEN, goldenRun } from "./golden-run.ts"

const device = await openDevice({ device: "cpu", threads: 2 })
afterAll(() => device.release())

interface TrlGolden {
  readonly settings: {
    readonly steps: number
    readonly batch_size: number
    readonly learning_rate: number
    readonly lr_scheduler: "constant"
  }
  readonly runs: Readonly<Record<string, readonly { loss: number; grad_norm: number }[]>>
}

/** What TRL's SFTTrainer logged: `golden/sft_trainer.py`. */
const golden = JSON.parse(readFileSync(`${GOLDEN}trl.json`, "utf8")) as TrlGolden
const { steps, learning_rate: learningRate, lr_scheduler: schedule } = golden.settings

/** The golden run, our objective, with an adapter, several rows in a micro-batch. */
const RUNS = [
  ["full.sft", "sft", false, true],
  ["full.dft", "dft", false, true],
  ["full.dft.accumulated", "dft", false, false],
  ["lora.sft", "sft", true, true],
  ["lora.dft", "dft", true, true],
] as const

describe("every step of TRL's SFTTrainer on the same rows", () => {
  test.each(RUNS)("%s", async (name, objective, adapter, packing) => {
    const logged = golden.runs[name]!
    const run = { device, family: "qwen2", objective, adapter, packing, steps }
    const ours = await goldenRun({ ...run, learningRate, schedule, warmupRatio: 0 })
    const theirs = logged.map((step) => ({ ...step, nll: 0, learning_rate: learningRate }))
    for (const field of ["loss", "grad_norm", "learning_rate"] as const) {
      expect(apart(ours, theirs, field), field).toBeLessThan(1e-3)
    }
  })
})
