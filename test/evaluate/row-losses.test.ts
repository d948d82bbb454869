import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { type ConfigInput, parseConfig } from "../../src/config/index.ts"
import { train } from "../../src/engines/index.ts"
import { evaluateRows } from "../../src/evaluate/evaluate-rows.ts"
import { lossDifferences, rowLosses, sourceLosses } from "../../src/evaluate/row-losses.ts"
import { ratioInterval } from "../../src/evaluate/statistics.ts"
import type { EvalEvent } from "../../src/run/events.ts"
import { bf16Kernel } from "../../src/runtime/node.ts"
import { openScoredModel } from "../../src/train/scored-model.ts"
import { sumRows, tinyModel } from "../train/tiny-model.ts"

let folder: string
let model: string
let rows: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "dftune-rows-"))
  model = tinyModel(folder)
  rows = sumRows(folder, 24)
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

async function measured(path: string, dtype: "fp32" | "bf16" = "fp32") {
  const opened = await openScoredModel(path, { dtype })
  expect(opened.dtype).toBe(dtype)
  try {
    return await rowLosses(opened, { files: [rows], maxLength: 128 })
  } finally {
    await opened.release()
  }
}

async function evalsOf(name: string, more: Partial<ConfigInput>): Promise<EvalEvent[]> {
  const config = parseConfig({
    model,
    data: { train: rows, eval: rows },
    batch_size: 8,
    max_steps: 4,
    learning_rate: 0.05,
    output_dir: join(folder, name),
    ...more,
  })
  const evals: EvalEvent[] = []
  for await (const event of train(config)) if (event.type === "eval") evals.push(event)
  return evals
}

test.each([
  ["all weights", {}],
  ["an adapter over its base", { adapter: "lora" as const }],
])("a model's loss on rows is what the run's own evaluation says: %s", async (name, more) => {
  const evals = await evalsOf(name, more)
  const [before, after] = [
    sourceLosses(await measured(model)),
    sourceLosses(await measured(join(folder, name))),
  ]
  expect(before[0]!.nll).toBeCloseTo(evals[0]!.nll!, 5)
  expect(after[0]!.nll).toBeCloseTo(evals.at(-1)!.nll!, 5)
  expect(after[0]!.mean_p).toBeCloseTo(evals.at(-1)!.mean_p!, 5)
  expect(after[0]!.perplexity).toBeCloseTo(Math.exp(after[0]!.nll), 10)
  const [low, high] = after[0]!.nll_ci95
  expect(low).toBeLessThan(after[0]!.nll)
  expect(high).toBeGreaterThan(after[0]!.nll)
})

test("rows are laid out as the run's were, their columns too, for its base as for itself", async () => {
  const named = join(folder, "named.jsonl")
  const asked = Array.from({ length: 6 }, (_, i) => ({ q: `${i} + 2`, a: `${i + 2}` }))
  writeFileSync(named, asked.map((row) => JSON.stringify(row)).join("\n"))
  const columns = { question: "q", answer: "a" }
  const data = { train: named, eval: named, columns, template: "none" as const }
  const evals = await evalsOf("columns", { data, max_steps: 2 })
  const run = join(folder, "columns")
  const found = await evaluateRows(run, { data: [named], against: model, dtype: "fp32" })
  if (found.measured !== "targets") throw new Error(found.measured)
  expect(found.sources[0]!.nll).toBeCloseTo(evals.at(-1)!.nll!, 5)
  expect(found.against!.sources[0]!.nll).toBeCloseTo(evals[0]!.nll!, 5)
  // a file without those columns is read by its keys
  const usual = await evaluateRows(run, { data: [rows], limit: 2, dtype: "fp32" })
  expect(usual.sources[0]).toMatchObject({ rows: 2 })
})

test("two models are compared row by row", async () => {
  const base = await measured(model)
  const better = base.map((row) => ({ ...row, nll: row.nll - 0.1 * row.tokens }))
  const [found] = lossDifferences(base, better)
  expect(found).toMatchObject({ rows: 24, exceeds_noise: true })
  expect(found!.difference).toBeCloseTo(-0.1, 10)
  expect(lossDifferences(base, base)[0]!.exceeds_noise).toBe(false)
  const other = base.map((row) => ({ ...row, tokens: row.tokens + 1 }))
  expect(lossDifferences(base, other)[0]!.rows).toBe(0)
})

test("the interval of a ratio draws rows, not tokens", () => {
  expect(ratioInterval([{ sum: 2, count: 4 }])).toEqual([0.5, 0.5])
  const alike = Array.from({ length: 50 }, () => ({ sum: 3, count: 6 }))
  expect(ratioInterval(alike)).toEqual([0.5, 0.5])
})

const multipliesBf16 = bf16Kernel() !== undefined
if (!multipliesBf16) console.warn("NOT TESTED: losses in bf16: this processor does not multiply it")
test.runIf(multipliesBf16)("losses in bf16 are near float32's and not the same", async () => {
  const [exact, rounded] = [await measured(model), await measured(model, "bf16")]
  const [one, other] = [sourceLosses(exact)[0]!, sourceLosses(rounded)[0]!]
  expect(other.nll).not.toBe(one.nll)
  expect(Math.abs(other.nll / one.nll - 1)).toBeLessThan(5e-3)
})
