import { spawn } from "node:child_process"
import { createHash } from "node:crypto"
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { createRequire } from "node:module"
import { cpus, tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, expect, test } from "vitest"
import { parseConfig, type RunEvent, readRun, train } from "../src/index.ts"
import { DFTUNE } from "./dftune.ts"

/**
 * Runs that dftune 0.1.0 made and that were killed after a checkpoint (`golden/0.1.0/make.ts`):
 * what a user has on the disk today goes on and opens, and ends as it would have ended then.
 */
interface Expected {
  readonly made: { readonly onnxruntime: string; readonly platform: string; readonly cpu: string }
  readonly runs: Readonly<Record<string, ExpectedRun>>
}
interface ExpectedRun {
  readonly settings: object
  /** SHA-256 of each file of the finished model. */
  readonly model: Readonly<Record<string, string>>
  readonly steps: readonly { step: number; loss: number; nll: number; grad_norm: number }[]
  readonly evals: readonly { step: number; name: string; nll: number }[]
  readonly samples: readonly { step: number; completion: string }[]
  readonly generated: readonly string[]
  readonly chat: string
}

const GOLDEN = fileURLToPath(new URL("../golden/0.1.0", import.meta.url))
const { made, runs } = JSON.parse(readFileSync(join(GOLDEN, "expected.json"), "utf8")) as Expected
const names = Object.keys(runs)

const here = {
  onnxruntime: createRequire(import.meta.url)("onnxruntime-node/package.json").version as string,
  platform: `${process.platform} ${process.arch}`,
  cpu: cpus()[0]!.model,
}
/**
 * Other kernels round otherwise: bits are asked of the machine that made them, numbers of every
 * one.
 */
const sameKernels = (["onnxruntime", "platform", "cpu"] as const).every((k) => made[k] === here[k])
if (!sameKernels) {
  console.warn(`other kernels than ${JSON.stringify(made)}: 0.1.0's bits are not asked for`)
}

const folder = mkdtempSync(join(tmpdir(), "dftune-golden-0.1.0-"))
const started = process.cwd()
beforeAll(() => {
  cpSync(GOLDEN, folder, { recursive: true })
  process.env.DFTUNE_CACHE = join(folder, "cache")
  process.chdir(folder) // the runs' paths are relative to their folder
})
afterAll(() => {
  process.chdir(started)
  rmSync(folder, { recursive: true })
})

interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

function dftune(args: readonly string[], input = ""): Promise<Ended> {
  const child = spawn(process.execPath, [...DFTUNE, ...args], { cwd: folder })
  let stdout = ""
  child.stdout.on("data", (part) => (stdout += part))
  let stderr = ""
  child.stderr.on("data", (part) => (stderr += part))
  child.stdin.end(input)
  return new Promise((done) => child.on("close", (code) => done({ code, stdout, stderr })))
}

/** The last event of each step: a killed run tells of a step again when it is resumed. */
function lastOfEachStep<Type extends RunEvent["type"]>(events: readonly RunEvent[], type: Type) {
  const found = events.filter((event) => event.type === type)
  return [...new Map(found.map((event) => [event.step, event])).values()] as Extract<
    RunEvent,
    { type: Type }
  >[]
}

const sha256 = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex")

test("the killed runs open: compare, its page, generate, chat", async () => {
  const compared = await dftune(["compare", ...names, "--json", "--html", "page.html"])
  expect(compared.code, compared.stderr).toBe(0)
  const { runs: figures } = JSON.parse(compared.stdout) as {
    runs: { path: string; curves: { loss: number[] } }[]
  }
  for (const [i, name] of names.entries()) {
    const losses = runs[name]!.steps.map(({ loss }) => loss)
    const seen = figures[i]!.curves.loss
    expect(seen.length).toBeGreaterThan(3)
    if (sameKernels) expect(seen).toEqual(losses.slice(0, seen.length))
  }
  expect(readFileSync(join(folder, "page.html"), "utf8")).toContain("<svg")

  const greedy = ["--temperature", "0", "--max-new-tokens", "8"]
  for (const name of ["full", "lora"]) {
    const prompts = ["--prompts", "prompts.jsonl"]
    const generated = await dftune([
      "generate",
      name,
      ...prompts,
      ...greedy,
      "--out",
      `${name}.out`,
    ])
    expect(generated.code, generated.stderr).toBe(0)
    const lines = readFileSync(join(folder, `${name}.out`), "utf8")
      .trim()
      .split("\n")
    const completions = lines.map((line) => (JSON.parse(line) as { completion: string }).completion)
    expect(completions).toHaveLength(2)
    if (sameKernels) expect(completions).toEqual(runs[name]!.generated)
  }
  const chat = await dftune(["chat", "psft", ...greedy], "what is 3 + 4?\n")
  expect(chat.code, chat.stderr).toBe(0)
  if (sameKernels) expect(chat.stdout).toBe(runs.psft!.chat)
})

test("a refused resume names what differs, and changes nothing", async () => {
  const { settings } = runs.full!
  const changed = { ...settings, batch_size: 4, learning_rate: 0.01, resume: true }
  const before = readFileSync(join(folder, "full", "events.jsonl"))
  await expect(train(parseConfig(changed)).result).rejects.toThrow(
    "is of another run: learning_rate 0.003 there, 0.01 here; batch_size 3 there, 4 here. A resumed",
  )
  const rows = readFileSync("rows.jsonl", "utf8")
  writeFileSync("other.jsonl", rows.replace("what is 1 + 4?", "what is 11 + 4?"))
  const others = { ...settings, data: { train: ["other.jsonl"], max_length: 64 }, resume: true }
  await expect(train(parseConfig(others)).result).rejects.toThrow(
    /of the rows of this run .*other\.jsonl/,
  )
  expect(readFileSync(join(folder, "full", "events.jsonl")).equals(before)).toBe(true)
})

test("the same rows under another name, and rows whose cache is gone, are the same rows", async () => {
  cpSync("psft", "psft-2", { recursive: true })
  cpSync("rows.jsonl", "renamed.jsonl")
  const data = { train: ["renamed.jsonl"], eval: ["eval.jsonl"], max_length: 64 }
  const { settings, model } = runs.psft!
  const resumed = { ...settings, data, output_dir: "psft-2", resume: true }
  await train(parseConfig(resumed)).result
  cpSync("psft", "psft-3", { recursive: true })
  process.env.DFTUNE_CACHE = join(folder, "empty-cache")
  await train(parseConfig({ ...settings, output_dir: "psft-3", resume: true })).result
  process.env.DFTUNE_CACHE = join(folder, "cache")
  for (const name of ["psft-2", "psft-3"]) {
    const hash = sha256(join(folder, name, "model", "model.safetensors"))
    if (sameKernels) expect(hash).toBe(model["model.safetensors"])
  }
})

test.each(names)("%s resumes and ends as 0.1.0 would have ended", async (name) => {
  const expected = runs[name]!
  const result = await train(parseConfig({ ...expected.settings, resume: true })).result
  expect(result).toMatchObject({ reason: "done", steps: expected.steps.length })
  const { events } = readRun(join(folder, name))
  expect(events.some((event) => "resumed_from" in event)).toBe(true)

  const steps = lastOfEachStep(events, "step")
  expect(steps.map(({ step }) => step)).toEqual(expected.steps.map(({ step }) => step))
  for (const [i, { loss, nll, grad_norm }] of steps.entries()) {
    const then = expected.steps[i]!
    if (sameKernels) expect({ step: i + 1, loss, nll, grad_norm }).toEqual(then)
    expect(loss).toBeCloseTo(then.loss, 4)
    expect(nll).toBeCloseTo(then.nll, 3)
    expect(grad_norm / then.grad_norm).toBeCloseTo(1, 2)
  }
  const evals = lastOfEachStep(events, "eval")
  expect(evals.map(({ step, nll }) => [step, nll?.toFixed(3)])).toEqual(
    expected.evals.map(({ step, nll }) => [step, nll.toFixed(3)]),
  )
  expect(readFileSync(join(folder, name, "report.html"), "utf8")).toContain("<svg")
  // how the rows were laid out, which 0.1.0 did not say
  const files = readdirSync(join(folder, name, "model")).filter((file) => file !== "dftune.json")
  expect(files.sort()).toEqual(Object.keys(expected.model))
  if (!sameKernels) return
  for (const file of files) {
    expect(sha256(join(folder, name, "model", file)), file).toBe(expected.model[file])
  }
  const samples = events.filter((event) => event.type === "sample")
  const last = expected.samples.filter(({ step }) => step === expected.steps.length)
  expect(samples.slice(-last.length).map(({ completion }) => completion)).toEqual(
    last.map(({ completion }) => completion),
  )
})
