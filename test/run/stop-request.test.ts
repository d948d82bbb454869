import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { afterAll, expect, test } from "vitest"
import { lockFolder, lockHolder } from "../../src/run/run-lock.ts"
import { requestStop, stopRequest } from "../../src/run/stop-request.ts"

const folder = mkdtempSync(join(tmpdir(), "dftune-stop-"))
afterAll(() => rmSync(folder, { recursive: true }))
const file = join(folder, "stop")

test("a run that nobody writes is not asked, and no file is left there", () => {
  expect(requestStop(folder)).toBe(false)
  writeFileSync(join(folder, "run.lock"), '{"pid": 2147483646, "host": "elsewhere"}')
  writeFileSync(join(folder, "run.lock"), "{}")
  expect(lockHolder(folder)).toBeUndefined()
  expect(requestStop(folder)).toBe(false)
  expect(existsSync(file)).toBe(false)
  rmSync(join(folder, "run.lock"))
})

test("who writes the run hears of it, and of no older request", async () => {
  const unlock = lockFolder(folder)
  expect(lockHolder(folder)?.pid).toBe(process.pid)
  writeFileSync(file, "")
  const { signal, release } = stopRequest(folder)
  await sleep(600)
  expect(signal.aborted).toBe(false)
  expect(requestStop(folder)).toBe(true)
  await new Promise<void>((heard) => {
    signal.addEventListener("abort", () => heard(), { once: true })
  })
  release()
  unlock()
  await sleep(1500) // the asker sees that the run has ended
  expect(existsSync(file)).toBe(false)
})
