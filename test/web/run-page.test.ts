import { appendFileSync, renameSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import type { Page } from "playwright-core"
import { beforeAll, describe, expect, test } from "vitest"
import { endEvent, evalEvent, linesOf, startEvent, stepEvent } from "../server/run-events.ts"
import { newFolder, writeRun } from "../server/serving.ts"
import { CHROMIUM } from "./chromium.ts"
import { axeViolations, overflow, type Visit, visit } from "./serve-pages.ts"

const time = "2026-01-01T00:00:00.000Z"
const histogram = (step: number, bins: number[], small_bins: number[]) => ({
  ...{ type: "histogram", time, step, name: "train", bins, small_bins },
})
const warning = {
  type: "warning",
  time,
  step: 2,
  code: "odd-rows",
  message: "<b>odd</b>",
  hint: "look",
}
const steps = [1, 2, 3, 4].map((n) => stepEvent(n, { nll: 8 / 2 ** n, tokens: 100 * n }))
const EVENTS = [
  startEvent,
  ...steps,
  histogram(1, [8, 0, 0, 0, 0, 0, 0, 0, 0, 2], [1, 2, 3]),
  histogram(4, [0, 0, 0, 0, 0, 0, 0, 0, 0, 10], [0, 0, 0]),
  warning,
  evalEvent(4, { name: "held", nll: 0.75 }),
]

describe.skipIf(!CHROMIUM)("a run's page, in Chromium", () => {
  const dir = newFolder()
  const run = writeRun(dir, "one", { events: EVENTS, model: "org/base" })
  writeRun(dir, "two", { events: [startEvent, ...steps, endEvent(4)], model: "org/other" })
  let at: Visit
  beforeAll(async () => {
    at = await visit({ dir })
  })
  const chart = (page: Page, title: string) => page.getByRole("img", { name: title })
  const go = (page: Page, hash: string) => page.evaluate(`location.hash = ${JSON.stringify(hash)}`)

  test("curves, histogram and warnings say what the events say", async () => {
    const { page } = at
    await page.getByRole("link", { name: "one", exact: true }).click()
    await chart(page, "NLL, nats a token: training 0.5, held 0.75").waitFor()
    await page.getByText("<b>odd</b>").waitFor()
    const bars = page.getByRole("img", { name: /^Share of the targets in each range of p, step 4/ })
    expect(await bars.getAttribute("aria-label")).toMatch(/step 4: .* 100 %; step 1: 10 % .* 20 %$/)
    await page.getByRole("slider", { name: "Step of the histogram" }).fill("0")
    // 8 below 0.1, of which 1, 2 and 3 are below 1e-4, 1e-3 and 1e-2
    const first = page.getByRole("img", {
      name: /^Share of the targets in each range of p, step 1\./,
    })
    expect(await first.getAttribute("aria-label")).toMatch(
      /step 1: 10 % 20 % 30 % 20 % 0 %.* 20 %$/,
    )
  })

  test("smoothing, axes and zoom", async () => {
    const { page } = at
    await page.getByRole("slider", { name: "smoothing" }).fill("0.5")
    // (0.5 x 0.5 + 1 x 0.25 + 2 x 0.125 + 4 x 0.0625) / 0.9375
    await chart(page, "NLL, nats a token: training 1.067, held 0.75").waitFor()
    await page.getByRole("slider", { name: "smoothing" }).fill("0")
    expect(await page.getByLabel("to", { exact: true }).inputValue()).toBe("4")
    await page.getByRole("combobox", { name: "over" }).selectOption("tokens")
    expect(await page.getByLabel("to", { exact: true }).inputValue()).toBe("400")
    await page.getByRole("combobox", { name: "over" }).selectOption("step")
    const place = chart(page, "NLL, nats a token")
    const box = (await place.locator(".u-over").boundingBox())!
    await page.mouse.move(box.x + 2, box.y + 20)
    await page.mouse.down()
    await page.mouse.move(box.x + box.width / 2, box.y + 20, { steps: 3 })
    await page.mouse.up()
    const to = page.getByLabel("to", { exact: true })
    await expect.poll(() => to.inputValue()).toMatch(/^[23]$/)
    await page.getByRole("button", { name: "Show all" }).press("Enter")
    expect(await to.inputValue()).toBe("4")
  })

  test("settings and what differs from another run; the log", async () => {
    const { page } = at
    await page.getByRole("link", { name: "Settings" }).click()
    await page.getByRole("row", { name: /^model "org\/base"/ }).waitFor()
    await page.getByLabel("what differs from").selectOption("two")
    await page.getByRole("row", { name: 'model "org/base" "org/other"' }).waitFor()
    expect(await page.locator("table.settings tbody tr").count()).toBe(1)
    await page.getByRole("link", { name: "Log" }).click()
    await page.getByRole("row", { name: /eval held: NLL 0.75/ }).waitFor()
    await page.getByRole("row", { name: /odd-rows/ }).waitFor()
    await page.getByRole("link", { name: "Samples" }).click()
    await page.getByText("has written no samples").waitFor()
  })

  test("a run that goes on in another file is told anew; each step once", async () => {
    const { page } = at
    await go(page, "#/run/one")
    await chart(page, "NLL, nats a token: training 0.5").waitFor()
    const path = join(run, "events.jsonl")
    appendFileSync(path, linesOf([stepEvent(5, { nll: 0.25 })]))
    await chart(page, "NLL, nats a token: training 0.25").waitFor({ timeout: 10_000 })
    writeFileSync(`${path}.new`, linesOf([...EVENTS.slice(0, 4), stepEvent(4, { nll: 0.125 })]))
    renameSync(`${path}.new`, path)
    await chart(page, "NLL, nats a token: training 0.125").waitFor({ timeout: 10_000 })
    expect(await page.getByLabel("to", { exact: true }).inputValue()).toBe("4")
  })

  test("tabs share one stream, and another tab takes it over", async () => {
    const { page } = at
    const streams: string[] = []
    const context = page.context()
    context.on("request", (request) => {
      if (request.url().includes("/api/stream")) streams.push(request.url())
    })
    const second = await context.newPage()
    await second.goto(`${new URL(page.url()).origin}/#/run/one`)
    await chart(second, "NLL, nats a token: training 0.125").waitFor()
    expect(streams).toEqual([])
    const path = join(run, "events.jsonl")
    appendFileSync(path, linesOf([stepEvent(5, { nll: 0.0625 })]))
    await chart(second, "NLL, nats a token: training 0.0625").waitFor({ timeout: 10_000 })
    await page.close()
    appendFileSync(path, linesOf([stepEvent(6, { nll: 3 })]))
    await chart(second, "NLL, nats a token: training 3").waitFor({ timeout: 10_000 })
    expect(await second.getByLabel("to", { exact: true }).inputValue()).toBe("6")
    expect(streams.length).toBe(1)
    for (const [width, colorScheme] of [
      [1440, "light"],
      [390, "dark"],
    ] as const) {
      await second.setViewportSize({ width, height: 900 })
      await second.emulateMedia({ colorScheme })
      for (const part of ["", "/settings", "/log", "/samples"]) {
        await go(second, `#/run/one${part}`)
        expect(await axeViolations(second)).toEqual([])
        expect(await overflow(second)).toBe(0)
      }
    }
    expect(at.broken).toEqual([])
  })
})
