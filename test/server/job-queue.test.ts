/** What waits and runs for the page, and whom it may end. */
import { spawn } from "node:child_process"
import { appendFileSync, existsSync, mkdirSync, rmSync, writeFileSync } from "node:fs"
import { hostname } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { JobQueue } from "../../src/server/job-queue.ts"
import {
  type Job,
  queuePath,
  readQueue,
  resultPath,
  writeQueue,
} from "../../src/server/queue-file.ts"
import { NOTHING_ALLOWED } from "../../src/server/start-checks.ts"
import { dftuneCommand } from "../dftune.ts"
import { endEvent, startEvent } from "./run-events.ts"
import { DEMO_MODEL, newFolder, writeRun } from "./serving.ts"
import { writeCheckpoint } from "./token-run.ts"

const queues: JobQueue[] = []
afterAll(() => {
  for (const queue of queues) queue.close()
})
function queueOf(dir: string): JobQueue {
  const { env } = process
  const own = { env, command: dftuneCommand, starts: true, allowed: NOTHING_ALLOWED }
  const queue = new JobQueue(dir, own)
  queues.push(queue)
  return queue
}
const stateOf = (queue: JobQueue, id: string) => queue.jobs.find((job) => job.id === id)?.state
const over = { timeout: 60_000, interval: 100 }

function folderWithRun() {
  const dir = newFolder()
  const run = writeRun(dir, "one", { events: [startEvent, endEvent(1)], model: DEMO_MODEL })
  writeCheckpoint(run, 20, 1)
  writeCheckpoint(run, 30, 2)
  return { dir, run }
}

test("an export of a chosen checkpoint is written; one that is stopped leaves nothing", async () => {
  const { dir, run } = folderWithRun()
  const queue = queueOf(dir)
  const asked = { to: "hf", checkpoint: 20 } as const
  const { id } = queue.add({ run: "one", resume: false, export: asked })
  await expect.poll(() => stateOf(queue, id), over).toBe("done")
  expect(existsSync(join(run, "export/hf-step-20/model.safetensors"))).toBe(true)

  const again = queue.add({ run: "one", resume: false, export: { ...asked, checkpoint: 30 } })
  expect(again.state).toBe("running")
  // a server that starts anew knows the process by its words
  const next = process.platform === "linux" ? queueOf(dir) : queue
  expect(next.stopExport(id)).toBe(false)
  expect(next.stopExport(again.id)).toBe(true)
  await expect.poll(() => stateOf(next, again.id), over).toBe("stopped")
  expect(existsSync(join(run, "export/hf-step-30"))).toBe(false)
})

test("a number that another program has by now is neither ended nor waited for", async () => {
  const { dir } = folderWithRun()
  const other = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { detached: true })
  const job: Job = {
    ...{ id: "a", run: "one", resume: false, state: "running", added: new Date().toISOString() },
    ...{ export: { to: "hf" }, pid: other.pid! },
  }
  writeQueue(dir, [job])
  const queue = queueOf(dir)
  expect(queue.stopExport("a")).toBe(false)
  if (process.platform === "linux") {
    await expect.poll(() => stateOf(queue, "a"), over).toBe("failed")
  }
  expect(other.exitCode ?? other.signalCode).toBeNull()
  other.kill("SIGKILL")
})

/** A job that the server's file calls waiting, though a server may have started it. */
function leftWaiting(dir: string, more: Partial<Job>): void {
  const added = new Date(Date.now() - 60_000).toISOString()
  writeQueue(dir, [{ ...{ id: "a", run: "one", resume: true, state: "waiting", added }, ...more }])
}
const started = (dir: string) => existsSync(queuePath(dir, "a.log"))

test("a run whose server died before it wrote down the start is found, and not begun again", async () => {
  const { dir, run } = folderWithRun()
  const other = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"])
  const lock = join(run, "run.lock")
  writeFileSync(lock, JSON.stringify({ pid: other.pid, host: hostname() }))
  leftWaiting(dir, {})
  const queue = queueOf(dir)
  await expect.poll(() => stateOf(queue, "a"), over).toBe("running")
  expect(queue.jobs[0]!.pid).toBe(other.pid)

  // the same where it is only found by the refusal of a second start
  writeQueue(dir, [{ ...queue.jobs[0]!, pid: 2 ** 22 + 1 }])
  const next = queueOf(dir)
  await expect.poll(() => next.jobs[0]!.pid, over).toBe(other.pid)
  queue.close()

  const time = new Date().toISOString()
  appendFileSync(join(run, "events.jsonl"), `${JSON.stringify({ ...endEvent(1), time })}\n`)
  rmSync(lock)
  other.kill("SIGKILL")
  await expect.poll(() => stateOf(next, "a"), over).toBe("done")
  leftWaiting(dir, {})
  const last = queueOf(dir)
  await expect.poll(() => stateOf(last, "a"), over).toBe("done")
  expect(started(dir)).toBe(false)
})

test("so is an export, by its words and by what it has printed", async () => {
  const { dir, run } = folderWithRun()
  const asked = { export: { to: "hf" }, resume: false } as const
  leftWaiting(dir, asked)
  const words = ["export", run, "--to", "hf", "--out", join(run, "export", "hf"), "--json"]
  const wait = "setInterval(() => {}, 1000)"
  const other = spawn(process.execPath, ["-e", wait, "--", ...words])
  if (process.platform === "linux") {
    const queue = queueOf(dir)
    await expect.poll(() => queue.jobs[0]!.pid, over).toBe(other.pid)
    queue.close()
  }
  other.kill("SIGKILL")
  leftWaiting(dir, asked)
  writeFileSync(resultPath(dir, "a"), "{}")
  const queue = queueOf(dir)
  await expect.poll(() => stateOf(queue, "a"), over).toBe("done")
  expect(started(dir)).toBe(false)
})

test("a queue in a stranger's folder starts nothing", () => {
  const { dir } = folderWithRun()
  const waiting: Job = {
    ...{ id: "a", run: "../one", resume: true, state: "waiting", added: "2026-01-01T00:00:00Z" },
  }
  mkdirSync(join(dir, ".dftune-queue"))
  writeFileSync(join(dir, ".dftune-queue/queue.json"), JSON.stringify([waiting]))
  expect(queueOf(dir).jobs).toEqual([])
  expect(queuePath(dir).startsWith(process.env.DFTUNE_CACHE!)).toBe(true)
})

test("a config that changed while its run waited is looked at again", async () => {
  const { dir, run } = folderWithRun()
  const config = { model: DEMO_MODEL, engine: { name: "torch", python: "/bin/evil" } }
  writeFileSync(join(run, "config.json"), JSON.stringify({ config, versions: {} }))
  writeQueue(dir, [
    { ...{ id: "a", run: "one", resume: true, state: "waiting" }, added: "2026-01-01T00:00:00Z" },
  ])
  const queue = queueOf(dir)
  await expect.poll(() => stateOf(queue, "a"), over).toBe("failed")
  expect(readQueue(dir)[0]!.message).toContain("engine.python")
})
