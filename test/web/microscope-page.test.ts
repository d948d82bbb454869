import { mkdtempSync, readFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { beforeAll, describe, expect, test } from "vitest"
import { endEvent, startEvent, stepEvent } from "../server/run-events.ts"
import { newFolder } from "../server/serving.ts"
import { writeCheckpoint, writeTokenRun } from "../server/token-run.ts"
import { CHROMIUM } from "./chromium.ts"
import { expectAccessible, type Visit, visit } from "./serve-pages.ts"

const { text, checkpoints } = JSON.parse(
  readFileSync(new URL("../../golden/token-microscope.json", import.meta.url), "utf8"),
)

describe.skipIf(!CHROMIUM)("the token microscope, in Chromium", () => {
  process.env.DFTUNE_CACHE = mkdtempSync(join(tmpdir(), "dftune-microscope-page-"))
  const dir = newFolder()
  const rows = [
    ["calc 17 + 25", "17 + 25 = 42\nThe answer is 42."],
    ["calc 1 + 1", "QQ zz"],
  ].map(([question, answer]) => ({
    messages: [
      { role: "user", content: question },
      { role: "assistant", content: answer },
    ],
  }))
  const events = [{ ...startEvent, steps: 4 }, stepEvent(3), endEvent(3)]
  const run = writeTokenRun(dir, "one", { rows, events })
  for (const { step, power } of checkpoints) writeCheckpoint(run, step, power)
  let at: Visit
  beforeAll(async () => {
    at = await visit({ dir })
    await at.page.evaluate('location.hash = "#/run/one/tokens"')
  })

  test("a row's tokens at three checkpoints, walked by keyboard", async () => {
    const { page } = at
    const list = page.getByRole("listbox")
    await page.getByText("step 3", { exact: true }).waitFor()
    expect((await list.innerText()).replaceAll("↵", "")).toBe(text)
    const slider = page.getByRole("slider", { name: "model at" })
    for (const [place, { step, p, rank }] of checkpoints.entries()) {
      await slider.fill(String(place + 1))
      await page.getByText(`step ${step}`, { exact: true }).waitFor()
      await page.locator(".tokens .seen").first().waitFor()
      await list.focus()
      await page.keyboard.press("ArrowUp")
      for (let i = 0; i < 3; i++) await page.keyboard.press("ArrowUp")
      for (let i = 0; i < 14; i++) await page.keyboard.press("ArrowRight")
      const facts = await page.locator(".picked-token .facts").innerText()
      expect(facts).toMatch(new RegExp(`^p\\n+${Number(p[13].toPrecision(3))}`))
      expect(facts).toMatch(new RegExp(`rank\\n+${rank[13]}\\n`))
      expect(
        await page
          .getByRole("list", { name: /Likeliest/ })
          .locator("li")
          .count(),
      ).toBe(5)
    }
  })

  test("coloured by weight and by change; the row that DFT abandons", async () => {
    const { page } = at
    await page.getByLabel("coloured by").selectOption("change")
    await page.locator(".tokens.diverging .seen").first().waitFor()
    await page.getByLabel("coloured by").selectOption("weight")
    await page.getByRole("button", { name: /first 32 rows/ }).press("Enter")
    const link = page.getByRole("button", { name: /train.jsonl:2/ })
    await link.waitFor()
    await link.press("Enter")
    await page.getByText("QQ").first().waitFor()
    await expectAccessible(page)
    expect(at.broken).toEqual([])
  })
})
