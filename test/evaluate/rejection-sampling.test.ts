import { execFile } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { promisify } from "node:util"
import { afterAll, expect, test } from "vitest"
import { extractAnswer } from "../../src/evaluate/index.ts"
import { DFTUNE } from "../dftune.ts"
import { tinyModel } from "../train/tiny-model.ts"

const root = mkdtempSync(join(tmpdir(), "dftune-rejection-"))
afterAll(() => rmSync(root, { recursive: true, force: true }))

async function dftune(...args: string[]): Promise<string> {
  const env = { ...process.env, DFTUNE_CACHE: join(root, "cache"), NO_COLOR: "1" }
  const node = [...DFTUNE, ...args]
  return (await promisify(execFile)(process.execPath, node, { env })).stdout
}

const rowsIn = (path: string): Record<string, unknown>[] =>
  readFileSync(path, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line))
const write = (path: string, rows: readonly object[]): void =>
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""))

test("the loop: generate n per prompt, keep what is correct, train on it, generate again", async () => {
  const model = tinyModel(root)
  const at = (name: string): string => join(root, name)
  write(
    at("prompts.jsonl"),
    Array.from({ length: 6 }, (_, i) => ({ id: i, problem: `what is ${i} + ${i}?` })),
  )
  const sampling = ["--n", "4", "--max-new-tokens", "24", "--seed", "3", "--threads", "1"]
  await dftune(
    "generate",
    model,
    "--prompts",
    at("prompts.jsonl"),
    "--out",
    at("samples.jsonl"),
    ...sampling,
  )
  const samples = rowsIn(at("samples.jsonl"))
  expect(samples).toHaveLength(24)

  // The tiny model knows no sums: a prompt's gold is what its first sample that says a number says.
  const golds = new Map<unknown, string>()
  for (const { id, completion } of samples) {
    const said = extractAnswer(String(completion), false)?.text
    if (said !== undefined && /^-?\d+$/.test(said) && !golds.has(id)) golds.set(id, said)
  }
  expect(golds.size).toBeGreaterThan(0)
  write(
    at("with-answers.jsonl"),
    samples.map((row) => ({ ...row, answer: golds.get(row.id) ?? "-1" })),
  )

  const printed = await dftune(
    "grade",
    at("with-answers.jsonl"),
    "--keep",
    "correct",
    "--max-per-prompt",
    "2",
    "--dedupe",
    "--out",
    at("kept.jsonl"),
    "--json",
  )
  const summary = JSON.parse(printed)
  const kept = rowsIn(at("kept.jsonl"))
  expect(summary).toMatchObject({
    rows: 24,
    prompts: 6,
    prompts_solved: golds.size,
    kept: kept.length,
  })
  expect(kept.length).toBeGreaterThanOrEqual(golds.size)
  for (const row of kept) expect(row).toMatchObject({ correct: true, answer: golds.get(row.id) })

  write(at("config.json"), [
    {
      model,
      data: { train: [{ path: at("kept.jsonl") }], max_length: 96 },
      objective: "dft",
      batch_size: Math.min(2, kept.length),
      micro_batch_tokens: 192,
      learning_rate: 1e-3,
      max_steps: 2,
      save_steps: 0,
      eval_steps: 0,
      engine: { name: "onnx", device: "cpu", threads: 1 },
      output_dir: at("run"),
    },
  ])
  const events = (await dftune("train", at("config.json"), "--json"))
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line))
  expect(events.at(-1)).toMatchObject({ type: "run.end", reason: "done" })
  const steps = events.filter(({ type }) => type === "step")
  expect(steps).toHaveLength(2)
  for (const { loss, supervised_tokens } of steps) {
    expect(Number.isFinite(loss)).toBe(true)
    expect(supervised_tokens).toBeGreaterThan(0)
  }

  const evaluated = await dftune(
    "eval",
    at("run"),
    "--suite",
    at("with-answers.jsonl"),
    "--limit",
    "3",
    "--n",
    "2",
    "--prompt",
    "raw",
    "--max-new-tokens",
    "12",
    "--threads",
    "1",
    "--out",
    at("eval"),
    "--json",
  )
  expect(JSON.parse(evaluated).results[0]).toMatchObject({ problems: 3, n: 2 })
  expect(readFileSync(join(at("eval"), "report.html"), "utf8")).toContain("<!doctype html>")
}, 180_000)
