import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { afterRun, continuation, runCourse } from "../../src/commands/shell/road.ts"
import { loadConfig, parseConfig } from "../../src/config/index.ts"
import { train } from "../../src/engines/index.ts"
import { commandLine, programName } from "../../src/host/invocation.ts"
import { clearRun } from "../../src/run/clear-run.ts"
import type { RunEvent } from "../../src/run/events.ts"
import { readRun } from "../../src/run/run-folder.ts"
import { runPlace } from "../../src/run/run-place.ts"
import { sumRows, tinyModel } from "../train/tiny-model.ts"

let folder: string
let run: string
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "dftune-road-"))
  run = join(folder, "my run")
  const config = parseConfig({
    model: tinyModel(folder),
    data: { train: sumRows(folder, 12) },
    batch_size: 4,
    max_steps: 1,
    eval_steps: 0,
    output_dir: run,
  })
  await train(config).result
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

test("a command that is shown can be copied: words are quoted for the shell", () => {
  expect(commandLine("chat", "runs/a b")).toMatch(/dftune chat 'runs\/a b'$/)
  const lines = afterRun({ path: "runs/x" }, "nll 2 → 1 over 3 steps in 1s")
  expect(lines.find((line) => line.startsWith("report"))).toContain("file://")
  expect(lines.join("\n")).toMatch(/dftune export runs\/x --to hf/)
})

test("what follows a run fits it: how it compares with its base, and what it can be exported to", () => {
  const lines = afterRun({ path: run }, undefined).join("\n")
  expect(lines).toMatch(/dftune eval '.*my run' --data \S+\.jsonl --against \S+/)
  expect(lines).toMatch(/dftune generate '.*my run' --prompts \S+\.jsonl/)
  expect(lines).toMatch(/--to hf {3}\(or gguf, ollama\)/)
  const adapter = join(folder, "adapter")
  mkdirSync(join(adapter, "model"), { recursive: true })
  writeFileSync(join(adapter, "model", "adapter_config.json"), "{}")
  expect(afterRun({ path: adapter }, undefined).join("\n")).toMatch(
    /--to merged {3}\(or peft, gguf/,
  )
})

test("the course of a run that went on is told from its first step", () => {
  const path = join(folder, "course")
  mkdirSync(path)
  const step = readRun(run).events.find((event) => event.type === "step")!
  const events = [3, 2, 1.5, 1].map((nll, i) => ({ ...step, step: i + 1, nll }))
  writeFileSync(
    join(path, "events.jsonl"),
    events.map((event) => `${JSON.stringify(event)}\n`).join(""),
  )
  const told = (from: number) => {
    const course = runCourse()
    course.see({ type: "run.start", step: from } as RunEvent)
    for (const event of events.slice(from)) course.see(event)
    return course.text(path)
  }
  expect(told(0)).toMatch(/^nll 3 → 1 over 4 steps in /)
  expect(told(3)).toMatch(/^nll 3 → 1 over 4 steps, 1 of them now in /)
  expect(told(4)).toBeUndefined()
})

test.each([
  [3, "train c.yaml --set a.b=1", "train c.yaml --set a.b=1 --resume"],
  [3, "train c.yaml --resume", "train c.yaml --resume"],
  [3, "train --resume runs/a/checkpoints/step-000002 c.yaml", "train c.yaml --resume"],
  [0, "train c.yaml --set a.b=1", "train c.yaml --set a.b=1"],
  [0, "train --resume c.yaml", "train c.yaml"],
])("after %i steps of `%s` it goes on with `%s`", (steps, given, expected) => {
  expect(continuation({ steps }, given.split(" "))).toMatch(new RegExp(`dftune ${expected}$`))
})

test("a run folder and its config.json stand for the config that the run had", async () => {
  const written = await loadConfig(join(run, "config.json"))
  expect(written.output_dir).toBe(run)
  expect(written).toMatchObject({ batch_size: 4, max_steps: 1 })
  expect(await loadConfig(run, { set: ["seed=3"] })).toEqual({ ...written, seed: 3 })
})

test("programs that a run's own config names run only when somebody says so", async () => {
  const path = join(folder, "stranger", "config.json")
  rmSync(join(folder, "stranger"), { recursive: true, force: true })
  const record = JSON.parse(readFileSync(join(run, "config.json"), "utf8"))
  mkdirSync(join(folder, "stranger"))
  record.config.engine = { name: "torch", python: "/tmp/evil" }
  writeFileSync(path, JSON.stringify(record))
  await expect(loadConfig(path)).rejects.toThrow(/engine.python: "\/tmp\/evil".*--allow-code/)
  await expect(loadConfig(path, { approve: async () => false })).rejects.toThrow(/--allow-code/)
  const approved = await loadConfig(path, { approve: async () => true })
  expect(approved.engine).toMatchObject({ python: "/tmp/evil" })
})

test("overwriting removes what the run wrote and nothing else", () => {
  writeFileSync(join(run, "notes.txt"), "mine")
  writeFileSync(join(run, "model", "thesis.txt"), "mine too")
  mkdirSync(join(run, "checkpoints", "mine"), { recursive: true })
  writeFileSync(join(run, "checkpoints", "mine", "a.txt"), "mine as well")
  clearRun(run)
  expect(runPlace(run)).toBe("free") // the run that takes its place is not refused
  expect(readFileSync(join(run, "notes.txt"), "utf8")).toBe("mine")
  expect(readFileSync(join(run, "model.kept-1", "thesis.txt"), "utf8")).toBe("mine too")
  expect(readFileSync(join(run, "checkpoints.kept-1", "mine", "a.txt"), "utf8")).toMatch(/as well/)
  for (const name of ["events.jsonl", "config.json", "model", "report.html", "checkpoints"]) {
    expect(existsSync(join(run, name))).toBe(false)
  }
})

test.each([
  [{}, "dftune"],
  [{ npm_command: "exec" }, "npx dftune"],
  [{ npm_command: "run-script", npm_lifecycle_event: "demo" }, "npx dftune"],
  [{ npm_command: "run-script", npm_lifecycle_event: "dftune" }, "npm run dftune --"],
])("under %j commands begin as the user's did: %s", (env, expected) => {
  expect(programName(env)).toBe(expected)
})
