import { mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { beforeAll, describe, expect, test } from "vitest"
import { writeEvaluations } from "../server/evaluations.ts"
import { endEvent, startEvent, stepEvent } from "../server/run-events.ts"
import { newFolder } from "../server/serving.ts"
import { writeTokenRun } from "../server/token-run.ts"
import { CHROMIUM } from "./chromium.ts"
import { expectAccessible, type Visit, visit } from "./serve-pages.ts"

describe.skipIf(!CHROMIUM)("comparing and data, in Chromium", () => {
  process.env.DFTUNE_CACHE = mkdtempSync(join(tmpdir(), "dftune-compare-page-"))
  const dir = newFolder()
  writeEvaluations(dir)
  const rows = ["2", "4", "2"].map((n) => ({ problem: `half of ${n}`, solution: n }))
  for (const [i, name] of ["one", "two"].entries()) {
    const steps = [1, 2].map((n) => stepEvent(n, { nll: n + i }))
    const objective = i === 0 ? "sft" : "dft"
    const run = writeTokenRun(dir, name, {
      rows,
      events: [startEvent, ...steps, endEvent(2)],
      objective,
    })
    const sample = { type: "sample", step: 2, prompt: "hi", completion: `${name} here` }
    writeFileSync(join(run, "samples.jsonl"), `${JSON.stringify(sample)}\n`)
  }
  let at: Visit
  beforeAll(async () => {
    at = await visit({ dir })
  })

  async function looked() {
    const { page, broken } = at
    await expectAccessible(page)
    await page.setViewportSize({ width: 1440, height: 900 })
    expect(broken).toEqual([])
  }

  test("runs over each other, what differs, samples beside each other, and who won what", async () => {
    const { page } = at
    await page.getByLabel("Compare one").check()
    await page.getByLabel("Compare two").check()
    await page.getByRole("link", { name: "Compare 2 runs" }).press("Enter")
    await page.getByRole("img", { name: "NLL, nats a token: one 2, two 3" }).waitFor()
    const differing = page.getByRole("region", { name: "Settings that differ" })
    await differing.getByRole("row", { name: "objective" }).waitFor()
    expect(await differing.getByRole("row").allInnerTexts()).toContain('objective\t"sft"\t"dft"')
    const samples = page.getByRole("region", { name: "Samples" })
    await samples.getByText("two here").first().waitFor()
    expect(await samples.innerText()).toMatch(/one\s+step 2\s+one here\s+two\s+step 2\s+two here/)
    await page.getByRole("combobox", { name: /^A/ }).selectOption("evals/first")
    await page.getByRole("combobox", { name: /^B/ }).selectOption("evals/second")
    await page.getByText("McNemar's exact p is 0.0703: the difference may be luck.").waitFor()
    await page.getByText("solved by A alone (1)").click()
    await page.getByText("p7: what is 7 + 1?").click()
    await page.getByText("second says no").waitFor()
    await looked()
  })

  test("the data: which rows are equal, and what of a row is trained", async () => {
    const { page } = at
    await page.evaluate('location.hash = "#/run/one/data"')
    await page.getByText("3 rows").waitFor()
    await page.getByText("1 group of rows").click()
    await page.getByRole("button", { name: "train.jsonl:3" }).waitFor()
    expect(await page.locator(".masked").first().locator(".trained").allInnerTexts()).toEqual([
      "2",
      "<|end|>",
    ])
    await looked()
  })
})
