/** Many tabs of one browser at one run's log, while events are written. */
import { appendFileSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import type { BrowserContext, Page } from "playwright-core"

export interface Tabs {
  readonly pages: Page[]
  /** The tabs that asked for a stream, in this order; one that asked again, again. */
  readonly leaders: Page[]
}

const time = "2026-01-01T00:00:00.000Z"
const told = (n: number) => `event ${n} `

/** Writes numbered events into a run, a few at a time as a run does. */
export async function tell(run: string, from: number, to: number): Promise<void> {
  for (let n = from; n <= to; n++) {
    const event = { type: "warning", time, step: n, code: "n", message: told(n), hint: "" }
    appendFileSync(join(run, "events.jsonl"), `${JSON.stringify(event)}\n`)
    await sleep(5)
  }
}

export async function openTabs(
  context: BrowserContext,
  address: string,
  count: number,
): Promise<Tabs> {
  const leaders: Page[] = []
  context.on("request", (request) => {
    if (request.url().includes("/api/stream")) leaders.push(request.frame().page())
  })
  const pages: Page[] = []
  for (let i = 0; i < count; i++) {
    const page = await context.newPage()
    await page.goto(address)
    pages.push(page)
  }
  for (const page of pages) await page.locator("table.log tbody tr").first().waitFor()
  return { pages, leaders }
}

const SHOWN_MS = 30_000

/** The numbers of the events that a tab's log shows, in order. */
async function shownIn(page: Page): Promise<number[]> {
  const texts = await page.locator("table.log tr.warning td:last-child").allTextContents()
  return texts.map((text) => Number(/^event (\d+)/.exec(text)?.[1])).sort((a, b) => a - b)
}

/** Waits until every tab has each of the events once; throws where one has others in the end. */
export async function eachOnce(pages: readonly Page[], count: number): Promise<void> {
  const wanted = Array.from({ length: count }, (_, i) => i + 1).join()
  const end = Date.now() + SHOWN_MS
  for (const [i, page] of pages.entries()) {
    for (;;) {
      const shown = (await shownIn(page)).join()
      if (shown === wanted) break
      if (Date.now() > end) throw new Error(`tab ${i}: expected the events ${wanted}, got ${shown}`)
      await sleep(100)
    }
  }
}

/** Streams that a server says are open. */
export async function openStreams(page: Page): Promise<number> {
  const text = await page.evaluate(async () => (await fetch("/metrics")).text())
  return Number(/^dftune_event_streams (\d+)$/m.exec(text)?.[1])
}
