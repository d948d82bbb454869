/** `dftune serve` as it is started, asked by the token of its first line. */
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { existsSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { afterAll, expect, test } from "vitest"
import { parseEvents } from "../../src/run/run-folder.ts"
import { DFTUNE } from "../dftune.ts"
import { ask, DEMO_MODEL, newFolder } from "./serving.ts"

const PROMPT = "What is 7 + 5?"

const started: ReturnType<typeof spawn>[] = []
afterAll(() => {
  for (const child of started) child.kill("SIGKILL")
})

/** A server as it is started, and how it is asked. */
async function startedServer(...more: string[]) {
  const args = [...DFTUNE, "serve", ...more, "--port", "0", "--no-open"]
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] })
  started.push(child)
  const [line] = (await once(createInterface(child.stdout), "line")) as [string]
  const url = new URL(line)
  expect(url.hostname).toBe("127.0.0.1")
  const token = new URLSearchParams(url.hash.slice(1)).get("token")
  const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" }
  const asked = (path: string, body?: object) =>
    ask(Number(url.port), path, {
      headers,
      ...(body ? { method: "POST", body: JSON.stringify(body) } : {}),
    })
  return { child, asked }
}

test("its first line is the URL; the answer is dftune generate's; a signal ends it", async () => {
  const { child, asked } = await startedServer(newFolder(), "--read-only", "--model", DEMO_MODEL)
  const { status, text } = await asked("/v1/completions", {
    ...{ model: "model", prompt: PROMPT, temperature: 0, max_tokens: 16 },
  })
  expect(status).toBe(200)
  const generate = ["generate", DEMO_MODEL, "--prompt", PROMPT, "--template", "none"]
  const greedy = ["--temperature", "0", "--max-new-tokens", "16"]
  const { stdout } = spawnSync(process.execPath, [...DFTUNE, ...generate, ...greedy])
  expect(JSON.parse(text).choices[0].text).toBe(JSON.parse(stdout.toString()).completion)
  child.kill("SIGTERM")
  await once(child, "exit")
}, 60_000)

test("killed in the middle of a run, it loses neither the run nor the queue", async () => {
  const dir = newFolder()
  const rows = join(dir, "rows.jsonl")
  writeFileSync(rows, '{"prompt": "1 + 1", "completion": "2"}\n'.repeat(8))
  const config = {
    ...{ model: DEMO_MODEL, data: { train: [{ path: rows }], max_length: 32 }, objective: "dft" },
    ...{ batch_size: 2, max_steps: 20, save_steps: 0, eval_steps: 0, generate_samples: null },
    engine: { name: "onnx", device: "cpu", threads: 1 },
  }
  const eventsOf = (run: string) => {
    const path = join(dir, run, "events.jsonl")
    return existsSync(path) ? parseEvents(readFileSync(path, "utf8")).events : []
  }
  const steps = (run: string) =>
    eventsOf(run).flatMap(({ type, step }) => (type === "step" ? [step] : []))
  const first = await startedServer(dir)
  for (const name of ["first", "second"]) {
    expect((await first.asked("/api/jobs", { name, config })).status).toBeLessThan(300)
  }
  const long = { timeout: 100_000, interval: 100 }
  await expect.poll(() => steps("first").length, long).toBeGreaterThan(0)
  first.child.kill("SIGKILL")
  await once(first.child, "exit")

  const second = await startedServer(dir)
  const states = async () =>
    JSON.parse((await second.asked("/api/jobs")).text).jobs.map(
      ({ run, state }: { run: string; state: string }) => `${run} ${state}`,
    )
  await expect.poll(states, long).toEqual(["first done", "second done"])
  for (const run of ["first", "second"]) {
    expect(steps(run)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1))
    expect(eventsOf(run).at(-1)).toMatchObject({ type: "run.end", reason: "done" })
  }
  second.child.kill("SIGTERM")
  await once(second.child, "exit")
}, 240_000)

test("a folder that is not there is refused (exit 2)", () => {
  const args = ["serve", "/nowhere/at/all"]
  const { status, stderr } = spawnSync(process.execPath, [...DFTUNE, ...args])
  expect(stderr.toString()).toMatch(/expected a folder of runs/)
  expect(status).toBe(2)
}, 30_000)
