import { appendFileSync } from "node:fs"
import { join } from "node:path"
import { beforeAll, describe, expect, test } from "vitest"
import { endEvent, evalEvent, linesOf, startEvent, stepEvent } from "../server/run-events.ts"
import { newFolder, writeRun } from "../server/serving.ts"
import { CHROMIUM } from "./chromium.ts"
import { axeViolations, overflow, type Visit, visit } from "./serve-pages.ts"

describe.skipIf(!CHROMIUM)("the page of runs, in Chromium", () => {
  const dir = newFolder()
  const steps = [1, 2, 3].map((n) => stepEvent(n, { nll: 1 / n }))
  const math = evalEvent(3, { name: "math", score: 0.25, n: 4 })
  writeRun(dir, "first", { events: [startEvent, ...steps, math, endEvent(3)], model: "org/base" })
  const hostile = { ...startEvent, objective: "<img src=x onerror=alert(1)>" }
  const second = writeRun(dir, "second", { events: [hostile, ...steps], model: "org/other" })
  let at: Visit
  beforeAll(async () => {
    at = await visit({ dir })
  })
  const names = () => at.page.locator("tbody th a").allTextContents()

  test("the token leaves the address, and the runs are told as they are", async () => {
    const { page } = at
    await page.locator("tbody tr").first().waitFor()
    expect(page.url()).toMatch(/\/#\/$/)
    expect((await names()).sort()).toEqual(["first", "second"])
    const first = page.locator("tbody tr", { hasText: "first" })
    expect(await first.innerText()).toMatch(/done.*3 of 9.*0\.333.*dft.*base.*score 0\.25/s)
    expect(await page.locator("tbody tr", { hasText: "second" }).innerText()).toMatch(/stopped/)
    expect(await page.locator("tbody img").count()).toBe(0)
  })

  test("a step that is written shows without a reload", async () => {
    appendFileSync(join(second, "events.jsonl"), linesOf([stepEvent(4, { nll: 0.125 })]))
    const row = at.page.locator("tbody tr", { hasText: "second" })
    await row.getByText("4 of 9").waitFor({ timeout: 10_000 })
    expect(await row.innerText()).toContain("0.125")
  })

  test("sorted, filtered, tagged and archived by keyboard", async () => {
    const { page } = at
    const header = page.getByRole("button", { name: "Run", exact: true })
    await header.focus()
    await page.keyboard.press("Enter")
    expect(await names()).toEqual(["first", "second"])
    await page.keyboard.press("Enter")
    expect(await names()).toEqual(["second", "first"])
    await page.getByRole("button", { name: "+ tag for first" }).press("Enter")
    await page.keyboard.type("keep")
    await page.keyboard.press("Enter")
    await page.getByRole("button", { name: /keep.*take it off first/ }).waitFor()
    const focused = () => page.evaluate("document.activeElement.textContent") as Promise<string>
    expect(await focused()).toBe("+ tag for first")
    await page.getByRole("searchbox").fill("nothing like it")
    expect(await page.locator("tbody").innerText()).toBe(
      'No run has "nothing like it" in what this list shows.',
    )
    await page.getByRole("searchbox").fill("keep org/base")
    expect(await names()).toEqual(["first"])
    await page.getByRole("searchbox").fill("")
    await page.getByRole("button", { name: "archive second" }).press("Enter")
    await page.getByRole("button", { name: "archive second" }).waitFor({ state: "detached" })
    expect(await names()).toEqual(["first"])
    await page.reload()
    await page.locator("tbody tr").first().waitFor()
    expect(await names()).toEqual(["first"])
    expect(await page.locator(".tag").innerText()).toContain("keep")
    await page.getByLabel("archived too").check()
    expect((await names()).length).toBe(2)
  })

  test("it fits a phone, and axe finds nothing", async () => {
    const { page } = at
    for (const width of [1440, 390]) {
      await page.setViewportSize({ width, height: 900 })
      for (const colorScheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme })
        expect(await axeViolations(page)).toEqual([])
      }
      expect(await overflow(page)).toBe(0)
    }
    expect(at.broken).toEqual([])
  })

  test("the page of a run that is not there yet shows it when it begins", async () => {
    await at.page.evaluate(`location.hash = "/run/third"`)
    await at.page.getByText('There is no run "third"').waitFor()
    writeRun(dir, "third", { events: [startEvent, ...steps], model: "org/base" })
    await at.page.getByRole("img", { name: /^NLL, nats a token: training 0\.333/ }).waitFor()
    expect(at.broken).toEqual([])
  })

  test("a server that is gone is told, over what was there", async () => {
    await at.server.close()
    await at.page.getByRole("alert").getByText("does not answer").waitFor({ timeout: 15_000 })
    expect(await at.page.locator("h1").innerText()).toBe("third")
  })
})
