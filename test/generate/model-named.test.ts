import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { modelNamed } from "../../src/generate/model-named.ts"
import { refuseMissingRun } from "../../src/run/missing-run.ts"

const RUN = { config: {}, versions: {} }
let folder: string
const before = process.cwd()

/** A run folder as far as these look. */
function run(name: string): void {
  mkdirSync(join(folder, "runs", name, "model"), { recursive: true })
  writeFileSync(join(folder, "runs", name, "config.json"), JSON.stringify(RUN))
  writeFileSync(join(folder, "runs", name, "events.jsonl"), "")
}

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "dftune-model-argument-"))
  process.chdir(folder)
  run("my-run")
  run("my-run-2")
  run("named")
  writeFileSync("plain.yaml", "model: m\ndata: { train: rows.jsonl }\n")
  writeFileSync("named.yaml", "model: m\ndata: { train: rows.jsonl }\noutput_dir: runs/named\n")
  writeFileSync("none.yaml", "model: m\ndata: { train: rows.jsonl }\noutput_dir: runs/none\n")
})
afterAll(() => {
  process.chdir(before)
  rmSync(folder, { recursive: true, force: true })
})

test.each([
  ["plain.yaml", "runs/my-run-2"],
  ["named.yaml", "runs/named"],
  ["runs/named/config.json", "runs/named"],
  ["runs/named", "runs/named"],
  ["owner/name", "owner/name"],
  ["absent.yaml", "absent.yaml"],
])("%s is the model %s", async (word, model) => {
  expect(await modelNamed(word)).toBe(model)
})

test("a config that nobody trained yet says so", async () => {
  await expect(modelNamed("none.yaml")).rejects.toThrow(
    /none.yaml: there is no run.*\(runs\/none\).*train none.yaml/,
  )
})

test.each([
  ["runs/my-run-3", /no such run; did you mean runs\/my-run/],
  ["runs/zzzzzzzz", /no such run; runs holds my-run, my-run-2, named/],
  ["./runs/zzzzzzzz/", /no such run/],
  ["named", /did you mean runs\/named\?/],
  ["elsewhere/runs/a", /elsewhere\/runs holds no run yet/],
])("%s means a run, not a hub id", (word, message) => {
  expect(() => refuseMissingRun(word)).toThrow(message)
})

test.each(["Qwen/Qwen2.5-0.5B", "gpt2", "runs/named"])("%s is none of our business", (word) => {
  expect(() => refuseMissingRun(word)).not.toThrow()
})
