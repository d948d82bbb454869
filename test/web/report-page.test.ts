/** `report.html` by file://, with the page's components and without scripts. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import type { Browser, Page } from "playwright-core"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { reportHtml } from "../../src/report/run-page.ts"
import { summarizeRun } from "../../src/report/run-summary.ts"
import { builtView } from "../../src/report/view-files.ts"
import type { RolloutEvent } from "../../src/run/events.ts"
import { madeUpRun } from "../report/made-up-run.ts"
import { built } from "./built-pages.ts"
import { CHROMIUM, launch } from "./chromium.ts"
import { expectAccessible } from "./serve-pages.ts"

const evil = "</script><script>document.title = 'evil'</script>"

function rollout(n: number): RolloutEvent {
  const range = { mean: 8 + n, min: 1, max: 20 }
  return {
    ...{ type: "rollout", time: "2026-01-01T00:00:00.000Z", step: n, rollout: n },
    ...{ prompts: 4, sequences: 16, tokens: 100, reward: n / 4, reward_std: 0.1, rewards: {} },
    ...{ zero_variance_groups: 1 / (n + 1), unscored: 0, resampled: 0, trained: 16 },
    ...{ completion_length: range, terminated_length: range, truncated: 0, entropy: 1 },
    ...{ logp_difference: null, policy_step: n, seconds: 1, tokens_per_second: 100 },
  }
}

describe.skipIf(!CHROMIUM)("a report, in Chromium", () => {
  const folder = mkdtempSync(join(tmpdir(), "dftune-report-page-"))
  const url = pathToFileURL(join(folder, "report.html")).href
  const broken: string[] = []
  const fetched: string[] = []
  let browser: Browser
  beforeAll(async () => {
    const view = builtView((await built()).view)!
    const runs = (["sft", "dft"] as const).map((objective) => {
      const config = { objective: { name: objective }, max_grad_norm: 1, note: evil }
      const events = [...madeUpRun({ objective, steps: 40 }), ...[0, 1, 2].map(rollout)]
      const record = { config, versions: { dftune: "0.1.0" } }
      return summarizeRun({ path: objective, record, events, badLines: [7] }, objective)
    })
    const sections = ["<section><h2>Before</h2></section>"]
    writeFileSync(join(folder, "report.html"), reportHtml(runs, { view, sections }))
    browser = await launch()
  })
  afterAll(async () => {
    await browser?.close()
    rmSync(folder, { recursive: true })
  })

  async function opened(javaScriptEnabled: boolean): Promise<Page> {
    const page = await (await browser.newContext({ javaScriptEnabled })).newPage()
    page.on("pageerror", ({ message }) => broken.push(message))
    page.on("console", (message) => message.type() === "error" && broken.push(message.text()))
    page.on("request", (request) => fetched.push(request.url()))
    await page.goto(url)
    return page
  }

  test("the page's components draw the run's numbers; nothing is fetched", async () => {
    const page = await opened(true)
    await page.getByRole("img", { name: /^Mean weight: sft 1, dft 0.88/ }).waitFor()
    await page.getByRole("img", { name: "Reward of the samples, mean: sft 0.5, dft 0.5" }).waitFor()
    await page
      .getByRole("img", { name: /^Groups whose rewards are all equal, .*: sft 0.33/ })
      .waitFor()
    const figures = page.getByRole("region", { name: "From start to end" })
    await figures.getByRole("row", { name: /^steps clipped .* 100 % 0 %$/ }).waitFor()
    await page.getByText("set objective.keep_special: true").first().waitFor()
    await page.getByText("dft: events.jsonl has 1 unreadable lines").waitFor()
    const samples = page.getByRole("region", { name: "Samples" })
    await samples.getByRole("combobox").selectOption("weight")
    expect(await samples.getByText("####").getAttribute("title")).toBe("p = 0.0300, weight 0.0300")
    await page.getByRole("row", { name: 'objective.name "sft" "dft"' }).waitFor()
    await page.getByRole("slider", { name: "smoothing" }).fill("0.9")
    expect(await page.locator("h2").first().innerText()).toBe("Before")
    await expectAccessible(page)
    expect(await page.title()).toBe("sft · dft · dftune")
    expect(fetched).toEqual([url])
    expect(broken).toEqual([])
  })

  test("without scripts it says the same numbers", async () => {
    const page = await opened(false)
    await page.getByRole("row", { name: /^steps clipped .* 100 % 0 %$/ }).waitFor()
    await page.getByRole("img", { name: "NLL, nats a token by step" }).waitFor()
    await page.getByRole("img", { name: "Reward of the samples, mean by step" }).waitFor()
    await page.getByText("set objective.keep_special: true").first().waitFor()
  })
})
