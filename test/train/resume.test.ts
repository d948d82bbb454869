import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs"
import { hostname, tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { parseConfig } from "../../src/config/index.ts"
import { train } from "../../src/engines/index.ts"
import { prepareJob } from "../../src/engines/torch/torch-run.ts"
import type { RunEvent, StepEvent } from "../../src/run/events.ts"
import { readRun } from "../../src/run/run-folder.ts"
import { DFTUNE } from "../dftune.ts"
import { sumRows, tinyModel } from "./tiny-model.ts"

const root = mkdtempSync(join(tmpdir(), "dftune-resume-"))
afterAll(() => rmSync(root, { recursive: true, force: true }))

const settings = (name: string, more: object = {}) => ({
  model: join(root, "model-start"),
  data: { train: [{ path: join(root, "sums.jsonl") }], max_length: 64 },
  objective: "dft",
  batch_size: 4,
  micro_batch_tokens: 128,
  learning_rate: 1e-3,
  max_steps: 12,
  save_steps: 3,
  eval_steps: 0,
  engine: { name: "onnx", device: "cpu", threads: 1 },
  output_dir: join(root, name),
  ...more,
})

beforeAll(() => {
  process.env.DFTUNE_CACHE = join(root, "cache")
  tinyModel(root)
  sumRows(root, 40)
})

async function finished(name: string, more: object = {}) {
  const run = train(parseConfig(settings(name, more)))
  return run.result
}

const modelBytes = (name: string, file = "model.safetensors") =>
  readFileSync(join(root, name, "model", file))

const losses = (name: string) => {
  const last = new Map<number, number>()
  for (const event of readRun(join(root, name)).events) {
    if (event.type === "step") last.set(event.step, (event as StepEvent).loss)
  }
  return [...last.values()]
}

function cli(args: readonly string[]): ChildProcess {
  return spawn(process.execPath, [...DFTUNE, ...args], {
    env: { ...process.env, DFTUNE_CACHE: join(root, "cache") },
    stdio: ["ignore", "ignore", "pipe"],
  })
}

/** Waits until the run has written a step, and then `then`. */
async function atStep(child: ChildProcess, name: string, step: number, then: () => void) {
  const events = join(root, name, "events.jsonl")
  const ended = new Promise<number | null>((resolve) => child.on("exit", resolve))
  const watch = setInterval(() => {
    if (!existsSync(events)) return
    const seen = readFileSync(events, "utf8").includes(`"type":"step","step":${step},`)
    if (!seen) return
    clearInterval(watch)
    then()
  }, 5)
  const code = await ended
  clearInterval(watch)
  return code
}

const whole = "whole"
test("an uninterrupted run ends with a model", async () => {
  const result = await finished(whole)
  expect(result).toMatchObject({ reason: "done", steps: 12 })
  expect(losses(whole)).toHaveLength(12)
})

test("a run that is done is not gone on with: nothing is computed, nothing touched", async () => {
  const path = join(root, whole)
  const files = () =>
    readdirSync(path, { recursive: true, encoding: "utf8" })
      .sort()
      .map((name) => [name, statSync(join(path, name)).mtimeMs])
  const before = files()
  const done = { reason: "done", steps: 12, path, model: join(path, "model"), wasDone: true }
  expect(await finished(whole, { resume: true })).toEqual(done)
  const shown = { eval_steps: 5, save_steps: 2, report_to: ["tensorboard"] }
  expect(await finished(whole, { resume: true, ...shown })).toEqual(done)
  await expect(finished(whole, { resume: true, max_steps: 14 })).rejects.toThrow(
    /max_steps 12 there, 14 here/,
  )
  const config = parseConfig(settings(whole, { resume: true }))
  await expect(prepareJob(config)).rejects.toThrow(/is done, after 12 steps.*its result is/)
  writeFileSync(join(root, "done.json"), JSON.stringify(settings(whole)))
  const child = cli(["train", join(root, "done.json"), "--resume"])
  let told = ""
  child.stderr!.on("data", (text) => {
    told += text
  })
  expect(await new Promise((resolve) => child.on("close", resolve))).toBe(0)
  expect(told).toContain("this run is done, after 12 steps; nothing was changed")
  expect(files()).toEqual(before)
})

test("of a process that was killed when its run was done, nothing is left", async () => {
  const path = join(root, whole)
  const before = readdirSync(path).sort()
  const { pid } = spawnSync(process.execPath, ["--version"])
  writeFileSync(join(path, "run.lock"), JSON.stringify({ pid, host: hostname() }))
  writeFileSync(join(path, `.config.json.${pid}.0123abcd.tmp`), "{")
  expect(await finished(whole, { resume: true })).toMatchObject({ wasDone: true })
  expect(readdirSync(path).sort()).toEqual(before)
})

test("a killed run, resumed, gives the same bits", async () => {
  const name = "killed"
  writeFileSync(join(root, `${name}.json`), JSON.stringify(settings(name)))
  const child = cli(["train", join(root, `${name}.json`)])
  await atStep(child, name, 7, () => child.kill("SIGKILL"))
  expect(existsSync(join(root, name, "model"))).toBe(false)
  const result = await finished(name, { resume: true })
  expect(result.steps).toBe(12)
  expect(modelBytes(name).equals(modelBytes(whole))).toBe(true)
  expect(losses(name)).toEqual(losses(whole))
})

test("Ctrl-C checkpoints, exits with 130, and the resumed run gives the same bits", async () => {
  const name = "stopped"
  writeFileSync(join(root, `${name}.json`), JSON.stringify(settings(name, { save_steps: 0 })))
  const child = cli(["train", join(root, `${name}.json`)])
  const code = await atStep(child, name, 4, () => child.kill("SIGINT"))
  expect(code).toBe(130)
  expect(readRun(join(root, name)).events.at(-1)).toMatchObject({ reason: "interrupted" })
  await finished(name, { resume: true, save_steps: 0 })
  expect(modelBytes(name).equals(modelBytes(whole))).toBe(true)
})

test("Ctrl-C while a run is prepared says how it begins, and leaves nothing in its way", async () => {
  const name = "early"
  const path = join(root, `${name}.json`)
  writeFileSync(path, JSON.stringify(settings(name)))
  const child = cli(["train", path])
  let told = ""
  child.stderr!.on("data", (text) => {
    if (told === "") child.kill("SIGINT") // at the name of its folder
    told += text
  })
  expect(await new Promise((resolve) => child.on("close", resolve))).toBe(130)
  expect(told).toMatch(/to begin again:\n {2}.* train \S+early\.json\n/)
  expect((await finished(name, { max_steps: 1 })).steps).toBe(1)
})

test("an adapter's run makes samples on the way, whatever its base is kept in", async () => {
  for (const quantization of ["none", "int8"]) {
    const name = `samples-${quantization}`
    const more = {
      adapter: { type: "lora", r: 4 },
      quantization,
      max_steps: 2,
      generate_samples: { prompts: 2, every: 2, max_new_tokens: 3 },
    }
    await finished(name, more)
    const samples = readRun(join(root, name)).events.filter(({ type }) => type === "sample")
    expect(samples.map(({ step }) => step)).toEqual([0, 0, 2, 2])
  }
})

test("an adapter's run resumes to the same bits, dropout too", async () => {
  const lora = { adapter: { type: "lora", r: 4, lora_dropout: 0.2 } }
  await finished("lora", lora)
  const name = "lora-stopped"
  const controller = new AbortController()
  const run = train(parseConfig(settings(name, lora)), { signal: controller.signal })
  for await (const event of run) if (event.type === "step" && event.step === 5) controller.abort()
  expect((await run.result).reason).toBe("interrupted")
  await finished(name, { ...lora, resume: true })
  const file = "adapter_model.safetensors"
  expect(modelBytes(name, file).equals(modelBytes("lora", file))).toBe(true)
})

/** Stops a run soon after an event that `when` picks: in the middle of what comes next. */
async function stoppedAfter(
  name: string,
  more: object,
  when: (event: RunEvent) => boolean,
): Promise<{ reason: string; steps: number }> {
  const controller = new AbortController()
  const run = train(parseConfig(settings(name, more)), { signal: controller.signal })
  for await (const event of run) if (when(event)) setImmediate(() => controller.abort())
  return run.result
}

test("Ctrl-C in the middle of a step leaves that step for the resumed run", async () => {
  const rowsAlone = { data: { ...settings("").data, packing: false }, save_steps: 0 }
  await finished("rows-alone", rowsAlone)
  const name = "stopped-in-a-step"
  const { reason, steps } = await stoppedAfter(
    name,
    rowsAlone,
    ({ type, step }) => type === "histogram" && step === 5,
  )
  expect(reason).toBe("interrupted")
  expect(steps).toBeGreaterThanOrEqual(5) // 5, unless a busy machine tells of it late
  await finished(name, { ...rowsAlone, resume: true })
  expect(modelBytes(name).equals(modelBytes("rows-alone"))).toBe(true)
})

test("Ctrl-C during an evaluation, or while samples are made, does not wait for its end", async () => {
  const evaluated = {
    data: { ...settings("").data, eval: settings("").data.train, packing: false },
    eval_steps: 4,
    generate_samples: { prompts: 2, every: 4, max_new_tokens: 400 },
  }
  const inEvaluation = await stoppedAfter(
    "stopped-in-evaluation",
    evaluated,
    ({ type, step }) => type === "histogram" && step === 4,
  )
  expect(inEvaluation).toMatchObject({ reason: "interrupted", steps: 4 })
  const later = readRun(join(root, "stopped-in-evaluation")).events.filter(({ step }) => step === 4)
  expect(later.map(({ type }) => type)).toEqual(["step", "histogram", "checkpoint", "run.end"])

  const inSamples = await stoppedAfter(
    "stopped-in-samples",
    evaluated,
    (event) => event.type === "histogram" && event.step === 4 && event.name !== "train",
  )
  expect(inSamples).toMatchObject({ reason: "interrupted", steps: 4 })
  const events = readRun(join(root, "stopped-in-samples")).events
  expect(events.filter(({ type, step }) => type === "sample" && step > 0)).toEqual([])
})

test("a run that shares an old policy over several steps resumes inside them to the same bits", async () => {
  const psft = { objective: { name: "psft", updates: 4 }, max_steps: 8 }
  await finished("psft", psft)
  const controller = new AbortController()
  const run = train(parseConfig(settings("psft-stopped", psft)), { signal: controller.signal })
  for await (const event of run) if (event.type === "step" && event.step === 2) controller.abort()
  await run.result
  await finished("psft-stopped", { ...psft, resume: true })
  expect(modelBytes("psft-stopped").equals(modelBytes("psft"))).toBe(true)
})

test("a damaged checkpoint is named, and so is a checkpoint of another run", async () => {
  const newest = join(root, "killed", "checkpoints", "step-000009", "trainer.safetensors")
  const bytes = readFileSync(newest)
  bytes[bytes.length - 1]! ^= 1
  writeFileSync(newest, bytes)
  await expect(finished("killed", { resume: dirname(newest) })).rejects.toThrow(
    /trainer\.safetensors: is damaged/,
  )
  await expect(finished("stopped", { resume: true, seed: 5 })).rejects.toThrow(
    /seed 0 there, 5 here/,
  )
})

test("a second run into the same folder is refused", async () => {
  await expect(finished(whole)).rejects.toThrow(/already holds a run/)
})

test("a run of which every step was skipped is a failure and writes no model", async () => {
  const name = "all-skipped"
  const nan = join(root, "model-nan")
  cpSync(join(root, "model-start"), nan, { recursive: true })
  const file = join(nan, "model.safetensors")
  const bytes = readFileSync(file)
  const header = Number(bytes.readBigUInt64LE(0))
  for (let at = 8 + header; at < bytes.length; at += 4) bytes.writeFloatLE(Number.NaN, at)
  writeFileSync(file, bytes)
  const more = { model: nan, on_nonfinite: "skip", max_steps: 2 }
  await expect(finished(name, more)).rejects.toThrow(/all 2 steps were skipped/)
  expect(existsSync(join(root, name, "model"))).toBe(false)
  expect(readRun(join(root, name)).events.at(-1)).toMatchObject({ reason: "failed" })
})
