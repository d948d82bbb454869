import { once } from "node:events"
import { type AddressInfo, createServer } from "node:net"
import { expect, test } from "vitest"
import { isBusy, isNoAddress, isNobody, patiently, waitAfter } from "../../src/host/patience.ts"

const QUICK = { attempts: 3, firstWaitMs: 1 }

test("asks until the outcome stands, or the attempts are used up", async () => {
  const outcomes = [503, 429, 200]
  const waited: number[] = []
  const again = (status: number) => (isBusy(status) ? {} : undefined)
  const onWait = (_: number, ms: number) => void waited.push(ms)
  const next = async () => outcomes.shift()!
  expect(await patiently(next, { ...QUICK, again, onWait })).toBe(200)
  expect(waited).toEqual([1, 2])
  let asked = 0
  const always = async () => {
    asked++
    return 500
  }
  expect(await patiently(always, { ...QUICK, again })).toBe(500)
  expect(asked).toBe(3)
})

test("a wait doubles, is what the server asks for, and is never too long", () => {
  expect([1, 2, 3].map((attempt) => waitAfter(attempt, QUICK))).toEqual([1, 2, 4])
  expect(waitAfter(1, QUICK, 7)).toBe(7000)
  expect(waitAfter(1, QUICK, 3600)).toBe(30_000)
  expect(waitAfter(9, { ...QUICK, longestWaitMs: 50 })).toBe(50)
})

test("an abort ends a wait with its own reason", async () => {
  const stop = new AbortController()
  const reason = new Error("enough")
  const waiting = patiently(async () => 500, {
    ...{ attempts: 2, firstWaitMs: 60_000, signal: stop.signal },
    again: () => ({}),
    onWait: () => void setTimeout(() => stop.abort(reason), 5),
  })
  await expect(waiting).rejects.toBe(reason)
})

test("statuses and errors that may pass are told from those that cannot", async () => {
  expect([200, 400, 404, 408, 425, 429, 500, 504].map(isBusy)).toEqual([
    ...[false, false, false, true, true, true, true, true],
  ])
  const errorOf = (url: string) => fetch(url).catch((error: unknown) => error)
  expect(isNoAddress(await errorOf("http://127.0.0.1:6000"))).toBe(true)
  expect(isNobody(await errorOf(`http://127.0.0.1:${await freePort()}`))).toBe(true)
})

/** A port that nobody listens on. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1")
  await once(server, "listening")
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, "close")
  return port
}
