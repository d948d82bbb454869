import { appendFileSync } from "node:fs"
import { join } from "node:path"
import { beforeAll, describe, expect, test } from "vitest"
import { linesOf, startEvent, stepEvent } from "../server/run-events.ts"
import { newFolder, writeRun } from "../server/serving.ts"
import { CHROMIUM } from "./chromium.ts"
import { type Visit, visit } from "./serve-pages.ts"
import { eachOnce, openStreams, openTabs, type Tabs, tell } from "./tabs.ts"

/** More than the six connections that a browser opens to an origin. */
const TABS = 8

describe.skipIf(!CHROMIUM)("many tabs, in Chromium", () => {
  const dir = newFolder()
  const run = writeRun(dir, "one", { events: [startEvent, stepEvent(1)], model: "org/base" })
  // more than one stream follows
  const names = Array.from({ length: 18 }, (_, i) => `r${String(i).padStart(2, "0")}`)
  for (const name of names) {
    writeRun(dir, name, { events: [startEvent, stepEvent(1)], model: "org/base" })
  }
  let at: Visit
  let tabs: Tabs
  const address = (hash: string) => `${new URL(at.server.url).origin}/#${hash}`
  beforeAll(async () => {
    at = await visit({ dir })
    await at.page.locator("tbody tr").first().waitFor()
    tabs = await openTabs(at.page.context(), address("/run/one/log"), TABS)
  })

  test("one stream tells all of them each event once", async () => {
    await tell(run, 1, 20)
    await eachOnce(tabs.pages, 20)
    expect(await openStreams(at.page)).toBe(1)
    expect(new Set(tabs.leaders).size).toBeLessThanOrEqual(1)
  })

  test("the tab with the stream closes while events come: another takes over, none is lost", async () => {
    const { pages, leaders } = tabs
    const telling = tell(run, 21, 60)
    await at.page.close() // the first tab had the lock
    await expect.poll(() => leaders.at(-1), { timeout: 30_000 }).not.toBe(at.page)
    const next = leaders.at(-1)!
    await next.close()
    const left = pages.filter((page) => page !== next)
    await telling
    await eachOnce(left, 60)
    expect(await openStreams(left[0]!)).toBe(1)
    const [third] = leaders.slice(-1)
    expect(left).toContain(third)
  })

  test("runs beyond those that one stream follows are told too", async () => {
    const left = tabs.pages.filter((page) => !page.isClosed()).slice(0, 3)
    for (const [i, page] of left.entries()) {
      await page.goto(address(`/compare/${names.slice(6 * i, 6 * i + 6).join(",")}`))
      await page.getByRole("img", { name: /^NLL, nats a token: r\d\d 1\b/ }).waitFor()
    }
    for (const name of names) {
      appendFileSync(join(dir, name, "events.jsonl"), linesOf([stepEvent(2, { nll: 0.125 })]))
    }
    for (const [i, page] of left.entries()) {
      const shown = names.slice(6 * i, 6 * i + 6).map((name) => `${name} 0.125`)
      const all = new RegExp(`^NLL, nats a token: ${shown.join(".*")}`)
      await page.getByRole("img", { name: all }).waitFor({ timeout: 30_000 })
    }
    expect(await openStreams(left[0]!)).toBe(1)
    expect(at.broken).toEqual([])
  })
})
