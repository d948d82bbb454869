/** `dftune serve` as it is started, asked by the token of its first line. */
import { spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { afterAll, expect, test } from "vitest"
import { ask, DEMO_MODEL, newFolder } from "./serving.ts"

const MAIN = fileURLToPath(new URL("../../src/commands/main.ts", import.meta.url))
const dftune = ["--import", "tsx", MAIN]
const PROMPT = "What is 7 + 5?"

const started: ReturnType<typeof spawn>[] = []
afterAll(() => {
  for (const child of started) child.kill("SIGKILL")
})

test("its first line is the URL; the answer is dftune generate's; a signal ends it", async () => {
  const args = [
    "serve",
    newFolder(),
    "--port",
    "0",
    "--no-open",
    "--read-only",
    "--model",
    DEMO_MODEL,
  ]
  const child = spawn(process.execPath, [...dftune, ...args], { stdio: ["ignore", "pipe", "pipe"] })
  started.push(child)
  const [line] = (await once(createInterface(child.stdout), "line")) as [string]
  const url = new URL(line)
  expect(url.hostname).toBe("127.0.0.1")
  const token = new URLSearchParams(url.hash.slice(1)).get("token")
  const { status, text } = await ask(Number(url.port), "/v1/completions", {
    method: "POST",
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    body: JSON.stringify({ model: "model", prompt: PROMPT, temperature: 0, max_tokens: 16 }),
  })
  expect(status).toBe(200)
  const generate = ["generate", DEMO_MODEL, "--prompt", PROMPT, "--template", "none"]
  const greedy = ["--temperature", "0", "--max-new-tokens", "16"]
  const { stdout } = spawnSync(process.execPath, [...dftune, ...generate, ...greedy])
  expect(JSON.parse(text).choices[0].text).toBe(JSON.parse(stdout.toString()).completion)
  child.kill("SIGTERM")
  await once(child, "exit")
}, 60_000)

test("a folder that is not there is refused (exit 2)", () => {
  const args = ["serve", "/nowhere/at/all"]
  const { status, stderr } = spawnSync(process.execPath, [...dftune, ...args])
  expect(stderr.toString()).toMatch(/expected a folder of runs/)
  expect(status).toBe(2)
}, 30_000)
