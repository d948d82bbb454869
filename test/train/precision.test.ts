import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { train } from "../../src/engines/index.ts"
import { rowLosses, sourceLosses } from "../../src/evaluate/row-losses.ts"
import { readModelConfig } from "../../src/models/files/index.ts"
import { resolvedPrecision } from "../../src/models/files/precision.ts"
import { readRun } from "../../src/run/run-folder.ts"
import { bf16Kernel } from "../../src/runtime/node.ts"
import { differences, type Identity } from "../../src/train/run-identity.ts"
import { openScoredModel } from "../../src/train/scored-model.ts"
import { sumRows, tinyModel } from "./tiny-model.ts"

const root = mkdtempSync(join(tmpdir(), "dftune-precision-"))
afterAll(() => rmSync(root, { recursive: true, force: true }))
beforeAll(() => {
  process.env.DFTUNE_CACHE = join(root, "cache")
  tinyModel(root)
  const rows = readFileSync(sumRows(root, 43), "utf8").split("\n")
  writeFileSync(join(root, "sums.jsonl"), rows.slice(0, 40).join("\n"))
  writeFileSync(join(root, "held.jsonl"), rows.slice(40).join("\n"))
})
const DATA = { train: [{ path: join(root, "sums.jsonl") }], max_length: 64 }
const EVALUATED = { data: { ...DATA, eval: [{ path: join(root, "held.jsonl") }] } }
const here = bf16Kernel() !== undefined
if (!here) console.warn("NOT TESTED: runs in bf16: this processor does not multiply it")

function run(name: string, dtype: "auto" | "bf16" | "fp32", more: object = {}) {
  const config = parseConfig({
    model: join(root, "model-start"),
    data: DATA,
    objective: "dft",
    batch_size: 4,
    micro_batch_tokens: 128,
    learning_rate: 1e-3,
    max_steps: 4,
    save_steps: 2,
    eval_steps: 0,
    engine: { name: "onnx", device: "cpu", threads: 1, dtype },
    output_dir: join(root, name),
    ...more,
  })
  return train(config).result
}

const record = (name: string) => JSON.parse(readFileSync(join(root, name, "config.json"), "utf8"))
const checkpoint = (name: string, step: number) =>
  join(root, name, "checkpoints", `step-00000${step}`)
const model = (name: string) => readFileSync(join(root, name, "model", "model.safetensors"))
const started = (name: string) =>
  readRun(join(root, name)).events.find(({ type }) => type === "run.start")

test("auto is bf16 for large models on a CPU that multiplies it", async () => {
  const { shape } = await readModelConfig(join(root, "model-start"))
  const large = { ...shape, vocabSize: 60e6 / shape.hiddenSize }
  const asked = (dtype: "auto" | "bf16" | "fp32", device: "cpu" | "webgpu" = "cpu") => ({
    ...{ dtype, device },
  })
  expect(resolvedPrecision(asked("auto"), shape)).toBe("fp32")
  expect(resolvedPrecision(asked("auto"), large)).toBe(here ? "bf16" : "fp32")
  expect(resolvedPrecision(asked("auto", "webgpu"), large)).toBe("fp32")
  expect(resolvedPrecision(asked("fp32"), large)).toBe("fp32")
  expect(resolvedPrecision(asked("bf16"), shape)).toBe("bf16")
})

test("the resolved value stands in config.json and the run's header, never auto", async () => {
  await run("small", "auto", { generate_samples: { prompts: 1, every: 4, max_new_tokens: 4 } })
  expect(record("small").config.engine.dtype).toBe("fp32")
  expect(started("small")).toMatchObject({ dtype: "fp32" })
  const state = JSON.parse(readFileSync(join(checkpoint("small", 2), "trainer.json"), "utf8"))
  expect(state.identity.dtype).toBe("fp32")
  const [samples, report] = ["samples.jsonl", "report.html"].map((name) =>
    readFileSync(join(root, "small", name), "utf8"),
  )
  const said = samples!.trim().split("\n")
  expect(said.map((line) => JSON.parse(line).dtype)).toEqual(["fp32", "fp32"])
  expect(report).toContain("dft on onnx in fp32 (CPU, 1 thread)")
})

test("a checkpoint that does not say its precision was made in float32", () => {
  const { identity } = JSON.parse(
    readFileSync(join(checkpoint("small", 2), "trainer.json"), "utf8"),
  ) as { identity: Identity }
  const { dtype: _, ...then } = identity
  const now = (dtype: "bf16" | "fp32"): Identity => ({ ...then, dtype })
  expect(differences(then, now("fp32"))).toEqual([])
  expect(differences(then, now("bf16"))).toEqual(["engine.dtype fp32 there, bf16 here"])
})

test("on a GPU, or where nothing multiplies it, a written bf16 is refused by name", async () => {
  const engine = { name: "onnx", device: "webgpu", dtype: "bf16" }
  await expect(run("gpu", "bf16", { engine })).rejects.toThrow("dtype: bf16 is for the CPU")
})

describe.skipIf(!here)("a run in bf16", () => {
  test("goes on in bf16 under auto, to the bits of the uninterrupted run", async () => {
    await run("whole", "bf16", EVALUATED)
    expect(record("whole").config.engine.dtype).toBe("bf16")
    expect(started("whole")).toMatchObject({ dtype: "bf16" })
    await run("resumed", "auto", { resume: checkpoint("whole", 2) })
    expect(started("resumed")).toMatchObject({ dtype: "bf16" })
    expect(model("resumed").equals(model("whole"))).toBe(true)
    await run("plain", "fp32")
    expect(model("plain").equals(model("whole"))).toBe(false)
  })

  const FLOAT32_CASES: readonly [string, object][] = [
    ["whole", {}],
    ["lora", { adapter: { r: 4, lora_alpha: 8 }, max_steps: 1 }],
    ["int8", { adapter: { r: 4, lora_alpha: 8 }, quantization: "int8", max_steps: 1 }],
  ]
  test.each(FLOAT32_CASES)("ends with its evaluation in float32: %s", async (name, more) => {
    if (name !== "whole") await run(name, "bf16", { ...more, ...EVALUATED })
    const { events } = readRun(join(root, name))
    const evals = events.filter((event) => event.type === "eval")
    const last = events.filter((event) => event.type === "step").at(-1)!.step
    const own = evals.find((event) => event.name === "held" && event.step === last)!
    const [plain, ...others] = evals.filter((event) => event.name.startsWith("fp32/"))
    expect(others).toEqual([])
    expect(plain).toMatchObject({ name: "fp32/held", step: last })
    expect(plain!.nll_gap).toBe(own.nll! - plain!.nll!)
    expect(plain!.nll_gap).not.toBe(0)
    // The result is stored in float32, so what was measured of the weights in memory is its own.
    const model = await openScoredModel(join(root, name, "model"), { threads: 1 })
    try {
      const losses = await rowLosses(model, { files: [join(root, "held.jsonl")], maxLength: 64 })
      expect(plain!.nll).toBeCloseTo(sourceLosses(losses)[0]!.nll, name === "int8" ? 1 : 5)
    } finally {
      await model.release()
    }
  })

  test("is not continued in another precision that is written", async () => {
    const other = run("other", "fp32", { resume: checkpoint("whole", 2) })
    await expect(other).rejects.toThrow("engine.dtype bf16 there, fp32 here")
  })

  test("is near itself with another number of threads", async () => {
    await run("threads", "bf16", {
      engine: { name: "onnx", device: "cpu", threads: 2, dtype: "bf16" },
    })
    const events = (name: string) =>
      readRun(join(root, name)).events.filter(({ type }) => type === "step")
    const nll = (name: string) => events(name).map((event) => (event as { nll: number }).nll)
    for (const [i, value] of nll("threads").entries())
      expect(value).toBeCloseTo(nll("whole")[i]!, 3)
  })
})
