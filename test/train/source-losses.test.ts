import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { train } from "../../src/engines/index.ts"
import type { EvalEvent, StepEvent } from "../../src/run/events.ts"
import { readRun } from "../../src/run/run-folder.ts"
import { sourceNames } from "../../src/train/source-losses.ts"
import { tinyModel } from "./tiny-model.ts"

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "dftune-source-losses-"))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function rows(name: string, count: number, answer: string): string {
  const path = join(folder, name)
  const line = (i: number) => JSON.stringify({ prompt: `${i} is `, completion: answer })
  writeFileSync(path, Array.from({ length: count }, (_, i) => `${line(i)}\n`).join(""))
  return path
}

async function eventsOf(data: Record<string, unknown>, name: string) {
  const output = join(folder, name)
  const config = parseConfig({
    model: tinyModel(folder),
    data: { max_length: 64, ...data },
    ...{ batch_size: 6, max_steps: 3, save_steps: 0, eval_steps: 3, learning_rate: 1e-3 },
    engine: { name: "onnx", device: "cpu" },
    output_dir: output,
  })
  await train(config).result
  const { events, badLines } = readRun(output)
  expect(badLines).toEqual([])
  return {
    steps: events.filter((e): e is StepEvent => e.type === "step"),
    evals: events.filter((e): e is EvalEvent => e.type === "eval"),
  }
}

test("losses of two files are told apart, and together they are the step's", async () => {
  const [a, b] = [rows("a.jsonl", 12, "aaaa"), rows("b.jsonl", 12, "bc")]
  const { steps, evals } = await eventsOf({ train: [a, b], eval_split: 6 }, "two")
  const all = [...steps, ...evals]
  expect(all.length).toBe(5)
  for (const { nll, mean_p, supervised_tokens: _, ...event } of all) {
    const tokens = event.source_tokens!
    expect(Object.keys(tokens).every((name) => ["a.jsonl", "b.jsonl"].includes(name))).toBe(true)
    const total = Object.values(tokens).reduce((sum, count) => sum + count, 0)
    const mean = (values: Readonly<Record<string, number>> = {}) =>
      Object.entries(values).reduce((sum, [k, value]) => sum + (value * tokens[k]!) / total, 0)
    expect(mean(event.source_nll)).toBeCloseTo(nll!, 5)
    expect(mean(event.source_mean_p)).toBeCloseTo(mean_p!, 5)
  }
  // 5 tokens of each row of a, 3 of each of b: the end of the text is one
  const last = steps.at(-1)!
  for (const [name, size] of [
    ["a.jsonl", 5],
    ["b.jsonl", 3],
  ] as const) {
    expect((last.source_tokens?.[name] ?? 0) % size).toBe(0)
  }
})

test("of one file nothing is told by source", async () => {
  const { steps, evals } = await eventsOf({ train: rows("a.jsonl", 12, "aaaa") }, "one")
  for (const event of [...steps, ...evals]) expect(event).not.toHaveProperty("source_nll")
})

test("files are called by as much of their path as tells them apart", () => {
  const names = (...paths: string[]) => {
    const found = sourceNames({ sources: paths.map((path) => ({ path })) as never })
    return found && [...found.values()]
  }
  expect(names("/d/a.jsonl", "/d/b.jsonl")).toEqual(["a.jsonl", "b.jsonl"])
  expect(names("/d/a/rows.jsonl", "/d/b/rows.jsonl", "/d/c.csv")).toEqual([
    "a/rows.jsonl",
    "b/rows.jsonl",
    "c.csv",
  ])
  expect(names("/d/a.jsonl", "/d/a.jsonl")).toBeUndefined()
  expect(names(...Array.from({ length: 25 }, (_, i) => `/d/${i}.jsonl`))).toBeUndefined()
})
