import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { parseConfig, type RunEvent, readRun, train } from "../../src/index.ts"
import { DFTUNE } from "../dftune.ts"
import { sumRows, tinyModel } from "./tiny-model.ts"

const root = mkdtempSync(join(tmpdir(), "dftune-restart-"))
afterAll(() => rmSync(root, { recursive: true, force: true }))

beforeAll(() => {
  process.env.DFTUNE_CACHE = join(root, "cache")
  tinyModel(root)
  sumRows(root, 40)
})

const settings = (name: string, more: object = {}) => ({
  model: join(root, "model-start"),
  data: { train: [join(root, "sums.jsonl")], max_length: 64 },
  batch_size: 4,
  micro_batch_tokens: 128,
  max_steps: 6,
  save_steps: 3,
  eval_steps: 0,
  engine: { name: "onnx", device: "cpu", threads: 1 },
  output_dir: join(root, name),
  ...more,
})

const trained = (name: string, more: object = {}) => train(parseConfig(settings(name, more))).result

interface Shell {
  /** Appended to the command line in a shell. */
  readonly after?: string
  readonly more?: object
  /** Sent when the run has told of a step. */
  readonly signal?: NodeJS.Signals
}

/** `dftune train` in a shell; its own exit code is the last line of stdout. */
async function shell(name: string, { after = "", more = {}, signal }: Shell) {
  const config = join(root, `${name}.json`)
  writeFileSync(config, JSON.stringify(settings(name, more)))
  const node = [process.execPath, ...DFTUNE].map((word) => `"${word}"`).join(" ")
  const command = signal ? `exec ${node} train "${config}"` : `{ ${node} train "${config}" ${after}`
  const child = spawn("bash", ["-c", command], { env: process.env })
  let output = ""
  child.stdout.on("data", (text) => (output += text))
  child.stderr.on("data", (text) => (output += text))
  const ended = new Promise<number | null>((done) => child.on("close", done))
  const events = join(root, name, "events.jsonl")
  const watch = setInterval(() => {
    if (signal === undefined || !existsSync(events)) return
    if (!readFileSync(events, "utf8").includes('"type":"step"')) return
    clearInterval(watch)
    child.kill(signal)
  }, 5)
  const code = await ended
  clearInterval(watch)
  return { code, output }
}

const endOf = (name: string) => readRun(join(root, name)).events.at(-1) as RunEvent

test("killed before its first checkpoint, a run starts again: as it is, and with --resume", async () => {
  const more = { save_steps: 0, max_steps: 2000 }
  await shell("early", { more, signal: "SIGKILL" })
  expect(endOf("early").type).not.toBe("run.end")
  const told = readRun(join(root, "early")).events.length
  const again = await trained("early", { save_steps: 0, max_steps: 2 })
  expect(again).toMatchObject({ reason: "done", steps: 2 })
  const { events } = readRun(join(root, "early"))
  expect(events.filter(({ type }) => type === "run.start")).toHaveLength(1)
  const moved = readFileSync(join(root, "early", "events.superseded.jsonl"), "utf8")
  expect(moved.trim().split("\n").length).toBeGreaterThanOrEqual(told)
  await expect(trained("early", { resume: true })).rejects.toThrow(
    /kept no checkpoint to go on from/,
  )
  await expect(trained("early")).rejects.toThrow(/replace it with --overwrite/)
  const over = await trained("early", { max_steps: 1, overwrite_output_dir: true })
  expect(over).toMatchObject({ reason: "done", steps: 1 })
  expect(existsSync(join(root, "early", "events.superseded.jsonl"))).toBe(false)

  const first = await trained("never-begun", { resume: true, max_steps: 1 })
  expect(first).toMatchObject({ reason: "done", steps: 1 })
  const warnings = readRun(join(root, "never-begun")).events.filter(
    ({ type }) => type === "warning",
  )
  expect(warnings).toContainEqual(expect.objectContaining({ code: "resumed-from-the-beginning" }))
})

test("killed and resumed, a run tells of each step once and leaves nothing half written", async () => {
  const more = { max_steps: 400, generate_samples: { prompts: 1, every: 2, max_new_tokens: 2 } }
  await shell("killed", { more, signal: "SIGKILL" })
  const controller = new AbortController()
  const config = parseConfig(settings("killed", { ...more, resume: true }))
  const run = train(config, { signal: controller.signal })
  for await (const event of run) if (event.type === "step" && event.step >= 8) controller.abort()
  const { events } = readRun(join(root, "killed"))
  const steps = events.filter(({ type }) => type === "step").map(({ step }) => step)
  expect(steps).toEqual(Array.from({ length: steps.length }, (_, i) => i + 1))
  const samples = readFileSync(join(root, "killed", "samples.jsonl"), "utf8")
    .trim()
    .split("\n")
  const sampled = samples.map((line) => (JSON.parse(line) as { step: number }).step)
  expect(sampled).toEqual([...new Set(sampled)])
  expect(readdirSync(join(root, "killed")).filter((name) => /tmp|lock/.test(name))).toEqual([])
})

test.skipIf(process.platform === "win32")("a run outlives the readers of its output", async () => {
  const [head, full, closed] = await Promise.all([
    shell("head", { after: "--json; echo code=$? >&2; } | head -1" }),
    shell("full", { after: "--json >/dev/full; echo code=$?; }" }),
    shell("closed", { after: "<&- >&- 2>&-; echo code=$?; }" }),
  ])
  expect(head.output).toContain('"type":"run.start"')
  expect(head.output).toContain("code=0")
  if (existsSync("/dev/full")) {
    expect(full.output).toContain("stdout: ENOSPC: no space left on device")
    expect(full.output).toContain("code=1")
    expect(endOf("full")).toMatchObject({ type: "run.end", reason: "done" })
  }
  expect(closed.output).toContain("code=0")
  for (const name of ["head", "closed"]) {
    expect(endOf(name)).toMatchObject({ type: "run.end", reason: "done" })
    expect(existsSync(join(root, name, "model", "model.safetensors"))).toBe(true)
  }
})

test.skipIf(process.platform === "win32")(
  "a lost terminal and a scheduler's signals end a run with a checkpoint, and it says so",
  async () => {
    const signals = ["SIGHUP", "SIGUSR1"] as const
    const ends = signals.map(async (signal) => {
      const more = { save_steps: 0, max_steps: 5000 }
      return { signal, ...(await shell(signal, { more, signal })) }
    })
    for (const { signal, code, output } of await Promise.all(ends)) {
      expect(code, signal).toBe(130)
      expect(output).toContain(`stopping with a checkpoint (${signal})`)
      expect(endOf(signal)).toMatchObject({ type: "run.end", reason: "interrupted" })
      expect(readdirSync(join(root, signal, "checkpoints"))).toHaveLength(1)
    }
  },
)
