import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, expect, test } from "vitest"
import { DFTUNE } from "../dftune.ts"

const MODEL = fileURLToPath(new URL("../../../shared/data/weights/stories260K/hf", import.meta.url))
const present = existsSync(join(MODEL, "model.safetensors"))
if (!present) console.warn(`absent, so not tested: dftune generate and chat with ${MODEL}`)

const folder = mkdtempSync(join(tmpdir(), "dftune-generate-"))
afterAll(() => rmSync(folder, { recursive: true }))

/** Runs the command line; `meanwhile` may send it a signal. */
async function dftune(
  args: readonly string[],
  { input = "", meanwhile }: { input?: string; meanwhile?: (pid: number) => Promise<void> } = {},
) {
  const child = spawn(process.execPath, [...DFTUNE, ...args])
  let stdout = ""
  let stderr = ""
  child.stdout.on("data", (part) => (stdout += part))
  child.stderr.on("data", (part) => (stderr += part))
  child.stdin.end(input)
  const ended = new Promise<number | null>((done) => child.on("close", (code) => done(code)))
  await meanwhile?.(child.pid!)
  return { code: await ended, stdout, stderr }
}

const prompts = join(folder, "prompts.jsonl")
writeFileSync(prompts, '{"prompt":"Once upon a time","id":1}\n{"question":"Lily and Tom"}\n')
const lines = (path: string) => readFileSync(path, "utf8").trim().split("\n")

test.runIf(present)("generate: interrupted, continued, the same file as in one go", async () => {
  const args = (out: string) => [
    ...["generate", MODEL, "--prompts", prompts, "--n", "30", "--seed", "7"],
    ...["--max-new-tokens", "150", "--stop", "\\n", "--out", out, "--json"],
  ]
  const [whole, cut] = [join(folder, "whole.jsonl"), join(folder, "cut.jsonl")]
  const first = await dftune(args(whole))
  expect(first.code).toBe(0)
  expect(JSON.parse(first.stdout)).toMatchObject({ out: whole, samples: 60, new_samples: 60 })
  expect(JSON.parse(lines(whole)[0]!).dtype).toBe("fp32") // auto, and the model is small

  const firstLine = async (pid: number) => {
    while (!existsSync(cut) || !readFileSync(cut, "utf8").includes("\n")) {
      await new Promise((done) => setTimeout(done, 5))
    }
    process.kill(pid, "SIGINT")
  }
  const stopped = await dftune(args(cut), { meanwhile: firstLine })
  expect(stopped.code).toBe(130)
  expect(stopped.stderr).toContain("of 60 samples; run again to go on")
  const before = lines(cut).length
  expect(before).toBeLessThan(60)

  const continued = await dftune(args(cut))
  expect(continued.code).toBe(0)
  expect(JSON.parse(continued.stdout)).toMatchObject({ new_samples: 60 - before })
  expect(readFileSync(cut, "utf8")).toBe(readFileSync(whole, "utf8"))

  const row = JSON.parse(lines(whole)[0]!)
  const answer = ["completion", "token_ids", "logprobs", "finish_reason", "seed", "dtype"]
  expect(Object.keys(row)).toEqual(["prompt", "id", ...answer])
  expect(row.seed).toBe(7)
})

test.runIf(present)("generate: rows on stdout, nothing else there", async () => {
  const args = ["--prompt", "Once", "--n", "3", "--max-new-tokens", "5", "--temperature", "0"]
  const { code, stdout } = await dftune(["generate", MODEL, ...args])
  expect(code).toBe(0)
  const rows = stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line))
  expect(rows.map(({ seed }) => seed)).toEqual([0, 1, 2])
  expect(new Set(rows.map(({ completion }) => completion)).size).toBe(1)
})

test.runIf(present)("chat: needs a template, continues plain text without one", async () => {
  const refused = await dftune(["chat", MODEL], { input: "hello\n" })
  expect(refused.code).toBe(2)
  expect(refused.stderr).toContain("no chat template")
  const args = ["chat", MODEL, "--raw", "--temperature", "0", "--max-new-tokens", "12"]
  const { code, stdout } = await dftune(args, { input: "Once upon a time\n/reset\n/exit\nmore\n" })
  expect(code).toBe(0)
  expect(stdout).toBe(", there was a little girl named Lily. She\n")
})

const wrong: readonly [name: string, args: readonly string[], message: RegExp][] = [
  ["no prompts", [], /either --prompts FILE.jsonl or --prompt TEXT/],
  ["a file that is not there", ["--prompts", "none.jsonl"], /none.jsonl: no such file/],
  ["a temperature below 0", ["--temperature", "-1"], /expected a number from 0/],
  ["no model", ["--prompt", "x"], /no such folder, and no hub id/],
]
test.each(wrong)("generate: %s is exit code 2", async (_name, args, message) => {
  const { code, stderr, stdout } = await dftune(["generate", "./no-such-model/x/y", ...args])
  expect(stderr).toMatch(message)
  expect(code).toBe(2)
  expect(stdout).toBe("")
})
