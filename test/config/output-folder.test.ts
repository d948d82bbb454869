import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeEach, expect, test } from "vitest"
import { loadConfig, parseConfig } from "../../src/config/index.ts"

const start = process.cwd()
let folder = ""

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "dftune-output-"))
  process.chdir(folder)
  writeFileSync("dftune.yaml", "model: m\ndata: { train: [a.jsonl] }\n")
})
afterAll(() => process.chdir(start))

const outputOf = async (...set: string[]) => (await loadConfig("dftune.yaml", { set })).output_dir

/** A run folder with what a run of that state holds. */
function run(name: string, ...files: string[]): void {
  for (const file of ["config.json", "events.jsonl", ...files]) {
    mkdirSync(join("runs", name, file, ".."), { recursive: true })
    writeFileSync(join("runs", name, file), "{}\n")
  }
}
const CHECKPOINT = "checkpoints/step-000004/trainer.json"
const RESULT = "model/config.json"

test("a folder left out is the first name after those that hold a run", async () => {
  expect(await outputOf()).toBe("runs/my-run")
  run("my-run") // began and saved nothing: it can begin again
  expect(await outputOf()).toBe("runs/my-run")
  run("my-run", CHECKPOINT)
  expect(await outputOf()).toBe("runs/my-run-2")
  run("my-run-2", RESULT)
  run("my-run-9x", RESULT)
  run("my-run-010", RESULT)
  run("other-7", RESULT)
  expect(await outputOf()).toBe("runs/my-run-3")
  run("my-run-10", RESULT)
  rmSync(join("runs", "my-run"), { recursive: true })
  expect(await outputOf()).toBe("runs/my-run-11")
})

test("a run that another process is writing is let be", async () => {
  run("my-run", "run.lock")
  expect(await outputOf()).toBe("runs/my-run-2")
})

test("resume and overwrite mean the newest, a checkpoint its own run", async () => {
  for (const flag of ["resume=true", "overwrite_output_dir=true"]) {
    expect(await outputOf(flag), flag).toBe("runs/my-run")
  }
  run("my-run", CHECKPOINT)
  run("my-run-2", CHECKPOINT)
  run("my-run-11")
  for (const flag of ["resume=true", "overwrite_output_dir=true"]) {
    expect(await outputOf(flag), flag).toBe("runs/my-run-11")
  }
  expect(await outputOf("resume=runs/my-run/checkpoints/step-000004")).toBe("runs/my-run")
  const absolute = join(process.cwd(), "runs/my-run-2/checkpoints/step-000004")
  expect(await outputOf(`resume=${absolute}`)).toBe("runs/my-run-2")
  expect(await outputOf("resume=elsewhere/my-run/checkpoints/step-000004")).toBe("runs/my-run-3")
})

test("a folder that is written is taken as it is, and so is the library's default", async () => {
  run("my-run", RESULT)
  expect(await outputOf("output_dir=runs/my-run")).toBe("runs/my-run")
  writeFileSync("dftune.yaml", "model: m\ndata: { train: [a.jsonl] }\noutput_dir: runs/my-run\n")
  expect(await outputOf()).toBe("runs/my-run")
  expect(parseConfig({ model: "m", data: { train: ["a.jsonl"] } }).output_dir).toBe("runs/my-run")
})

test("what several machines start keeps one name", async () => {
  run("my-run", RESULT)
  const fixed = await loadConfig("dftune.yaml", { fixedOutput: true })
  expect(fixed.output_dir).toBe("runs/my-run")
  const slurm = "engine={name: torch, launcher: slurm}"
  expect(await outputOf(slurm)).toBe("runs/my-run")
})
