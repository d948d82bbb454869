import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test, vi } from "vitest"
import { cleanUp, InputError } from "../../src/errors.ts"
import { parseConfig } from "../../src/index.ts"
import { runHere } from "../../src/train/run.ts"
import type { Session } from "../../src/train/session.ts"
import { sumRows, tinyModel } from "./tiny-model.ts"

const fails = vi.hoisted(() => ({ work: true }))
vi.mock(import("../../src/train/session.ts"), async (original) => {
  const { openSession } = await original()
  return {
    async openSession(...args): Promise<Session> {
      const session = await openSession(...args)
      return {
        ...session,
        get policy() {
          if (fails.work) throw new InputError("the device is gone")
          return session.policy
        },
        async release() {
          await session.release()
          throw new Error("nothing to release")
        },
      }
    },
  }
})

const root = mkdtempSync(join(tmpdir(), "dftune-cleaning-up-"))
afterAll(() => rmSync(root, { recursive: true, force: true }))
beforeAll(() => {
  process.env.DFTUNE_CACHE = join(root, "cache")
  tinyModel(root)
  sumRows(root, 8)
})

async function run(name: string): Promise<void> {
  const config = parseConfig({
    model: join(root, "model-start"),
    data: { train: [join(root, "sums.jsonl")], max_length: 64 },
    batch_size: 4,
    max_steps: 1,
    eval_steps: 0,
    engine: { name: "onnx", device: "cpu", threads: 1 },
    output_dir: join(root, name),
  })
  const events = runHere(config)
  while (!(await events.next()).done);
}

test("a run that fails throws its own error, and says in a line that cleaning up failed too", async () => {
  fails.work = true
  const error = await run("both").catch((error: unknown) => error)
  expect(error).toBeInstanceOf(InputError)
  expect((error as Error).message).toBe(
    "the device is gone\ncleaning up failed too: nothing to release",
  )
  const events = readFileSync(join(root, "both", "events.jsonl"), "utf8")
    .trim()
    .split("\n")
  const message = "the device is gone"
  expect(JSON.parse(events.at(-1)!)).toMatchObject({ type: "run.end", reason: "failed", message })
})

test("a run that is done and cannot be cleaned up after says so", async () => {
  fails.work = false
  await expect(run("last")).rejects.toThrow(/^nothing to release$/)
})

test("every step is taken, whichever fail, and an abort's message takes the line too", async () => {
  const taken: number[] = []
  const failing = (step: number) => async () => {
    taken.push(step)
    throw new Error(`step ${step}`)
  }
  const steps = [failing(1), () => taken.push(2), failing(3)]
  await expect(cleanUp(steps, undefined)).rejects.toThrow(
    /^step 1\ncleaning up failed too: step 3$/,
  )
  const error = new DOMException("stopped", "AbortError")
  await cleanUp(steps, { error })
  expect(error.message).toBe(
    "stopped\ncleaning up failed too: step 1\ncleaning up failed too: step 3",
  )
  await cleanUp(steps, { error: "no object" })
  expect(taken).toEqual([1, 2, 3, 1, 2, 3, 1, 2, 3])
})
