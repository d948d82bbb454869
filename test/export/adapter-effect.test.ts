import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { DEMO_MODEL, writeSumRows } from "../../scripts/sum-rows.ts"
import { parseConfig } from "../../src/config/index.ts"
import { train } from "../../src/engines/index.ts"
import {
  type AdapterEffect,
  type ExportOptions,
  type ExportResult,
  exportModel,
} from "../../src/export/index.ts"
import { keptText } from "../../src/export/kept-text.ts"
import { stochasticallyRounded } from "../../src/export/stochastic-rounding.ts"
import {
  bf16ToFloat32,
  f16ToFloat32,
  float32ToBf16,
  float32ToF16,
} from "../../src/formats/index.ts"
import { randomStream } from "../../src/random.ts"

let folder: string
let run: string
let rows: string
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "dftune-effect-"))
  run = join(folder, "run")
  writeSumRows(folder, 24)
  rows = join(folder, "train.jsonl")
  const config = parseConfig({
    model: DEMO_MODEL,
    adapter: "lora",
    data: { train: rows },
    batch_size: 8,
    max_steps: 1,
    learning_rate: 1e-5,
    warmup_ratio: 0,
    lr_scheduler: "constant",
    output_dir: run,
  })
  await train(config).result
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

let exports = 0
const exported = (options: ExportOptions, path = run) =>
  exportModel(path, { ...options, out: join(folder, `out-${exports++}`) })

async function measured(options: ExportOptions): Promise<AdapterEffect> {
  const { effect } = await exported(options)
  expect(effect).toHaveProperty("kept")
  return effect as AdapterEffect
}

test.each<[string, ExportOptions, (kept: number) => boolean]>([
  ["merged in float32 keeps all", { to: "merged", dtype: "float32" }, (kept) => kept > 0.95],
  ["merged in bfloat16 loses most", { to: "merged", dtype: "bfloat16" }, (kept) => kept < 0.3],
  [
    "merged in bfloat16 by chance keeps much more",
    { to: "merged", rounding: "stochastic" },
    (kept) => kept > 0.4,
  ],
  ["GGUF in f32 keeps all", { to: "gguf", type: "f32", preTokenizer: "gpt-2" }, (k) => k > 0.95],
  ["GGUF in q8_0 loses all", { to: "gguf", type: "q8_0", preTokenizer: "gpt-2" }, (k) => k < 0.3],
  ["8 bits lose most", { to: "int8" }, (kept) => kept < 0.5],
])("of a step's small change %s", async (_, options, right) => {
  const { kept, nll, tokens } = await measured(options)
  expect(right(kept), String(kept)).toBe(true)
  expect(tokens).toBeGreaterThan(100)
  expect(nll.adapter).not.toBe(nll.base)
  if (kept > 0.95) expect(Math.abs(nll.written - nll.adapter)).toBeLessThan(1e-6)
})

test("a run's model folder is measured as the run is; an adapter apart changes nothing", async () => {
  const { effect } = await exported({ to: "merged", dtype: "float32" }, join(run, "model"))
  expect(effect).toHaveProperty("kept")
  expect((await exported({ to: "peft" })).effect).toBeUndefined()
})

const told = (kept: number, more: Partial<ExportResult> = {}) => {
  const effect = { kept, nll: { base: 3, adapter: 2, written: 2.5 }, tokens: 396, rows: 16 }
  const result = { to: "merged", stored: "bfloat16", effect, ...more } as ExportResult
  return keptText(result, "nearest")!
}

test("what is kept is said, and below 95 % what keeps more", () => {
  expect(told(0.996)).toEqual({ text: expect.stringMatching(/^keeps 99\.6 % of the adapter's/) })
  expect(told(0.94).text).toMatch(/^keeps 94 % .* as written 2\.500: bfloat16 is too coarse/)
  expect(told(0.94).hint).toMatch(/--rounding stochastic .*--dtype f32 .*--to peft/)
  expect(told(-3, { to: "gguf", stored: "q4_k" }).text).toMatch(/^keeps 0 % /)
  expect(told(0.5, { to: "gguf", stored: "q4_k" }).hint).toMatch(/finer --type.*gguf-adapter/)
  expect(told(0.5, { to: "int4", stored: "int4" }).hint).not.toMatch(/rounding/)
})

test("where the run's rows are gone nothing is claimed, and that is said", async () => {
  rmSync(rows)
  const gone = await exported({ to: "merged", dtype: "float32" })
  expect(gone.effect).toEqual({ unmeasured: expect.stringContaining(rows) })
  expect(keptText(gone)!.text).toMatch(/was not measured: the rows .* are not there/)
})

test("rounding by chance is for 16 bits", async () => {
  const stochastic = { rounding: "stochastic" } as const
  await expect(exported({ to: "merged", dtype: "float32", ...stochastic })).rejects.toThrow(/16/)
  await expect(exported({ to: "gguf", type: "q8_0", ...stochastic })).rejects.toThrow(/got q8_0/)
  await expect(exported({ to: "int4", ...stochastic })).rejects.toThrow(/not int4/)
})

const TYPES = {
  bfloat16: (x: Float32Array) => bf16ToFloat32(float32ToBf16(x, new Uint16Array(x.length)), x),
  float16: (x: Float32Array) => f16ToFloat32(float32ToF16(x, new Uint16Array(x.length)), x),
}

test.each(["bfloat16", "float16"] as const)(
  "%s: what the type holds stays, all else goes to a neighbour, and the mean is kept",
  (dtype) => {
    const random = randomStream(1, dtype)
    const held = TYPES[dtype](Float32Array.from({ length: 500 }, () => random() - 0.5))
    expect(stochasticallyRounded(held.slice(), dtype, random)).toEqual(held)
    for (const value of [0.3, -0.3, 1.001, 3e-5, -2e-6, 1e-8]) {
      const rounded = stochasticallyRounded(new Float32Array(20_000).fill(value), dtype, random)
      const found = [...new Set(rounded)].sort((a, b) => a - b)
      expect(found).toHaveLength(2)
      expect(found[0]).toBeLessThanOrEqual(value)
      expect(found[1]).toBeGreaterThanOrEqual(value)
      expect(TYPES[dtype](Float32Array.from(found))).toEqual(Float32Array.from(found))
      const mean = rounded.reduce((sum, x) => sum + x, 0) / rounded.length
      expect(Math.abs(mean - value)).toBeLessThan(0.02 * (found[1]! - found[0]!))
    }
  },
)
