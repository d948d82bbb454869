import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, describe, expect, test } from "vitest"
import {
  memoryFolder,
  openTabModel,
  openWebDevice,
  type RunEvent,
  rowValues,
  type StepEvent,
  TabRun,
  type TabSettings,
  tabConfig,
  tabMemory,
  tabRows,
  type WebRuntime,
} from "../../src/browser/index.ts"
import { parseConfig } from "../../src/config/index.ts"
import { readAdapter } from "../../src/models/files/index.ts"
import type { Device } from "../../src/runtime/index.ts"
import { openDevice } from "../../src/runtime/node.ts"
import { runHere } from "../../src/train/run.ts"
import { ROWS } from "./arithmetic-rows.ts"

const MODEL = fileURLToPath(new URL("../../demo/model", import.meta.url))
const NAMES = ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"]
const files = new Map(
  [...NAMES, "model.safetensors"].map((name) => [name, readFileSync(join(MODEL, name))]),
)
const model = await openTabModel(memoryFolder("demo/model", files))
const cpu = await openDevice({ device: "cpu", threads: 1 })
// The web's own build of ONNX Runtime runs in Node too.
const ort = createRequire(import.meta.url)("onnxruntime-web") as WebRuntime
const wasm = await openWebDevice(ort, { device: "wasm", threads: 1 })
const scratch = mkdtempSync(join(tmpdir(), "dftune-tab-"))
afterAll(async () => {
  await cpu.release()
  await wasm.release()
  rmSync(scratch, { recursive: true })
})

const SETTINGS: TabSettings = {
  objective: "dft",
  learning_rate: 1e-3,
  batch_size: 4,
  max_steps: 3,
  micro_batch_tokens: 256,
  data: { max_length: 192 },
}
const rowsOf = (settings: TabSettings) =>
  tabRows("rows.jsonl", rowValues(ROWS, "rows.jsonl"), tabConfig(settings), model)

async function eventsOf(device: Device, settings: TabSettings): Promise<RunEvent[]> {
  const [rows, config] = [rowsOf(settings), tabConfig(settings)]
  const run = await TabRun.open({ device, model, rows, heldOut: rows, config })
  const events: RunEvent[] = []
  for await (const event of run) events.push(event)
  await run.release()
  return events
}

const steps = (events: readonly RunEvent[]) =>
  events.filter((event): event is StepEvent => event.type === "step")
const numbers = (events: readonly RunEvent[]) =>
  steps(events).map(({ loss, nll, grad_norm, mean_p }) => [loss, nll, grad_norm, mean_p!])

/**
 * Losses and probabilities; a gradient's norm magnifies rounding, for Adam's first steps have its
 * sign alone.
 */
function expectClose(found: readonly RunEvent[], wanted: readonly RunEvent[], tolerance: number) {
  expect(steps(found)).toHaveLength(steps(wanted).length)
  for (const [s, { loss, nll, mean_p }] of steps(wanted).entries()) {
    const came = steps(found)[s]!
    expect(Math.abs(came.loss - loss)).toBeLessThan(tolerance * (1 + Math.abs(loss)))
    expect(Math.abs(came.nll - nll)).toBeLessThan(tolerance * (1 + nll))
    expect(Math.abs(came.mean_p - mean_p)).toBeLessThan(tolerance)
  }
}

describe.each([
  ["all weights", {}],
  ["an adapter", { adapter: { type: "lora", r: 4 } }],
  ["a reference", { objective: { name: "asft" } }],
  ["an earlier policy", { objective: { name: "psft" } }],
] as const)("training %s", (_, more) => {
  const settings = { ...SETTINGS, ...more } as TabSettings

  test("is what dftune train does, to the bit", async () => {
    const path = join(scratch, "rows.jsonl")
    writeFileSync(path, ROWS)
    const output_dir = join(scratch, `run-${Math.random()}`)
    const engine = { name: "onnx", device: "cpu", threads: 1 }
    const sources = { ...settings.data, train: [{ path }], eval: [{ path }] }
    const input = { ...tabInput(settings), model: MODEL, data: sources, engine, output_dir }
    const wanted: RunEvent[] = []
    for await (const event of runHere(parseConfig(input))) wanted.push(event)
    const found = await eventsOf(cpu, settings)
    expect(numbers(found)).toEqual(numbers(wanted))
    // Warnings of the rows (lints) are the preparation's, which a tab has not.
    const types = (events: readonly RunEvent[]) =>
      events.filter(({ type, step }) => type !== "warning" || step > 0).map(({ type }) => type)
    expect(types(found)).toEqual(types(wanted))
  })
})

/** The config's keys as a config of a file has them. */
function tabInput({ data: _, ...settings }: TabSettings) {
  return { save_steps: 0, eval_steps: 0, ...settings }
}

test("three steps on WebAssembly are the native engine's to 1e-5", async () => {
  const settings = { ...SETTINGS, learning_rate: 1e-4 }
  expectClose(await eventsOf(wasm, settings), await eventsOf(cpu, settings), 1e-5)
})

test("a base in int8 under an adapter trains on WebAssembly as natively", async () => {
  const quantization = { bits: 8, groupSize: 64 } as const
  const small = await openTabModel(memoryFolder("demo/model", files), { quantization })
  const config = tabConfig({ ...SETTINGS, adapter: { type: "lora", r: 4 } })
  const rows = tabRows("rows.jsonl", rowValues(ROWS, "rows.jsonl"), config, small)
  const losses = []
  for (const device of [cpu, wasm]) {
    const run = await TabRun.open({ device, model: small, rows, config })
    const found: RunEvent[] = []
    for await (const event of run) found.push(event)
    losses.push(found)
    await run.release()
  }
  expectClose(losses[1]!, losses[0]!, 1e-4)
  await expect(
    TabRun.open({ device: cpu, model: small, rows, config: tabConfig(SETTINGS) }),
  ).rejects.toThrow(/set an adapter/)
})

test("two runs of one model do not disturb each other, and steps come when they are asked for", async () => {
  const rows = rowsOf(SETTINGS)
  const open = (objective: string) => {
    const config = tabConfig({ ...SETTINGS, objective, adapter: { type: "lora", r: 4 } })
    return TabRun.open({ device: cpu, model, rows, config })
  }
  const [a, b] = [await open("sft"), await open("dft")]
  const together = { a: [] as RunEvent[], b: [] as RunEvent[] }
  for (let step = 0; step < 4; step++) {
    together.a.push(...(await a.advance()))
    together.b.push(...(await b.advance()))
    expect([a.step, b.step]).toEqual([Math.min(3, step + 1), Math.min(3, step + 1)])
  }
  expect(together.a.at(-1)).toMatchObject({ type: "run.end", reason: "done" })
  const alone = await open("dft")
  const events: RunEvent[] = []
  for await (const event of alone) events.push(event)
  expect(numbers(together.b)).toEqual(numbers(events))
  for (const run of [a, b, alone]) await run.release()
})

test("a run samples, shows each token, and gives its adapter in PEFT's format", async () => {
  const config = tabConfig({ ...SETTINGS, adapter: { type: "lora", r: 4 }, learning_rate: 1e-2 })
  const rows = rowsOf(SETTINGS)
  const run = await TabRun.open({ device: wasm, model, rows, config })
  const before = await run.look(rows.row(0))
  while ((await run.advance()).length > 0);
  const after = await run.look(rows.row(0))
  expect(after.map(({ text }) => text).join("")).toContain("The answer is 9.")
  const supervised = after.filter((token) => token.supervised)
  expect(supervised.length).toBeGreaterThan(5)
  for (const { p, weight } of supervised) expect(weight).toBeCloseTo(p!, 5)
  const mean = (tokens: typeof after) =>
    tokens.reduce((sum, { p, supervised: s }) => sum + (s ? p! : 0), 0)
  expect(mean(after)).toBeGreaterThan(mean(before))

  const request = { prompt: [{ role: "user", content: "(2 + 5) * 2 = ?" }], n: 2, temperature: 0 }
  const said: string[] = []
  for await (const { completion } of run.sample([{ ...request, maxNewTokens: 12, seed: 0 }]))
    said.push(completion)
  expect(said).toHaveLength(2)
  expect(said[0]).toBe(said[1])

  const folder = mkdtempSync(join(scratch, "adapter-"))
  for (const [name, bytes] of await run.adapter()) writeFileSync(join(folder, name), bytes)
  const read = await readAdapter(folder, model.config.shape)
  expect(read.baseModel).toBe("demo/model")
  const moved = [...read.tensors].filter(
    ([name, data]) => name.includes("lora_B") && data.some((value) => value !== 0),
  )
  expect(moved.length).toBe(4 * 7)
  await run.release()
})

test("what a tab cannot do is refused in words", async () => {
  expect(() => tabConfig({ engine: "torch" } as never)).toThrow(/engine: not in a tab/)
  expect(() => tabConfig({ learning_rat: 1 } as never)).toThrow(/did you mean/)
  for (const [settings, key] of [
    [{ objective: "dpo" }, /objective: not in a tab; dpo/],
    [{ objective: "grpo" }, /objective: not in a tab; grpo/],
    [{ data: { train: [{ path: "x" }] } }, /data\.train: not in a tab/],
    [{ data: { eval_split: 0.1 } }, /data\.eval_split/],
    [{ data: { template: "x.jinja" } }, /data\.template/],
    [{ report_to: ["tensorboard"] }, /report_to/],
    [{ quantization: "int8", adapter: { type: "lora" } }, /quantization: not in a tab/],
    [{ adapter: { type: "lora", modules_to_save: ["lm_head"] } }, /modules_to_save/],
  ] as const) {
    expect(() => tabConfig(settings as never), JSON.stringify(settings)).toThrow(key)
  }
  expect(() => tabConfig({ objective: { name: "focal", gamma: 3 } } as never)).toThrow(/gamma/)
  const rows = rowsOf(SETTINGS)
  const open = (settings: TabSettings) =>
    TabRun.open({ device: cpu, model, rows, config: tabConfig({ ...SETTINGS, ...settings }) })
  await expect(open({ save_steps: 5 })).rejects.toThrow(/no checkpoints/)
  expect(() => rowValues('{"a": 1}\n{"b"', "x.jsonl")).toThrow(/x\.jsonl:2: expected JSON/)
  const wrong = rowValues('{"messages": 3}', "x.jsonl")
  expect(() => tabRows("x.jsonl", wrong, tabConfig(), model)).toThrow(/x\.jsonl:1/)
  const run = await open({})
  await expect(run.adapter()).rejects.toThrow(/trains the whole model/)
  await run.release()
})

test("what a run will hold is known before it is made", () => {
  const rows = rowsOf(SETTINGS)
  const plan = (settings: TabSettings) =>
    tabMemory({ device: cpu, model, rows, config: tabConfig({ ...SETTINGS, ...settings }) })
  const whole = plan({})
  expect(whole.weights).toBe(4 * [...model.weights.values()].reduce((n, x) => n + x.data.length, 0))
  expect(plan({ adapter: { type: "lora", r: 4 } }).moments).toBeLessThan(whole.moments / 4)
})
