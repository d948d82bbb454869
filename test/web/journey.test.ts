/**
 * From an empty folder to a trained, stopped, resumed, compared and exported model, in the page
 * alone.
 */
import { existsSync, mkdtempSync, readFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { beforeAll, describe, expect, test } from "vitest"
import { isRunFolder, readRun } from "../../src/run/run-folder.ts"
import { newFolder } from "../server/serving.ts"
import { CHROMIUM } from "./chromium.ts"
import { axeViolations, expectAccessible, overflow, type Visit, visit } from "./serve-pages.ts"

const LONG = 120_000

describe.skipIf(!CHROMIUM)("the first hour, in Chromium", () => {
  process.env.DFTUNE_CACHE = mkdtempSync(join(tmpdir(), "dftune-journey-"))
  const dir = newFolder()
  let at: Visit
  beforeAll(async () => {
    at = await visit({ dir })
  })

  const stepsOf = (name: string) =>
    isRunFolder(join(dir, name))
      ? readRun(join(dir, name)).events.flatMap((event) =>
          event.type === "step" ? [event.step] : [],
        )
      : []

  async function filled(name: string, steps: string): Promise<void> {
    const { page } = at
    await page.getByRole("button", { name: "Take the bundled model" }).press("Enter")
    await page.getByLabel("name of the run").fill(name)
    await page.getByRole("button", { name: "Take the example's rows" }).press("Enter")
    await expect.poll(() => page.getByLabel("training rows").inputValue()).toMatch(/noisy-train/)
    await page.getByLabel("rows a step").fill("4")
    await page.getByLabel("steps (empty").fill(steps)
  }

  test("from an empty folder: example rows, a formula, its weights, into the queue", async () => {
    const { page } = at
    await page.getByRole("link", { name: "Start one here" }).click()
    await filled("first", "2000")
    await page.getByRole("combobox", { name: "objective" }).selectOption("formula")
    await page.getByLabel("formula", { exact: true }).fill("p * nll")
    await page.getByText("It pushes some tokens away").waitFor()
    await page.getByLabel("formula", { exact: true }).fill("constructor(1)")
    await page
      .getByRole("region", { name: "Objective" })
      .getByText(/column 1/)
      .waitFor()
    expect(await page.getByRole("button", { name: "Start" }).isDisabled()).toBe(true)
    await page.getByLabel("formula", { exact: true }).fill("sg(p) * nll")
    await page.route("**/api/probe", (route) =>
      route.fulfill({ json: { sources: [], estimate: null, warnings: [] } }),
    )
    await page.getByRole("button", { name: "Probe first" }).press("Enter")
    await page.getByRole("heading", { name: "What the probe says" }).waitFor()
    const isOld = page.getByText("Of the settings before they were changed.")
    expect(await isOld.count()).toBe(0)
    await page.getByLabel("rows a step").fill("5")
    await isOld.waitFor()
    await page.getByLabel("rows a step").fill("4")
    await expectAccessible(page)
    await page.getByRole("button", { name: "Start" }).press("Enter")
    await page.getByRole("link", { name: "Its page" }).waitFor()
    await page.getByLabel("name of the run").fill("second")
    await page.getByRole("combobox", { name: "objective" }).selectOption("sft")
    await page.getByLabel("steps (empty").fill("3")
    await page.getByLabel("LoRA rank").fill("4")
    await page.getByRole("button", { name: "Start" }).press("Enter")
    await page.getByText("second is in the queue.").waitFor()
  })

  test(
    "the server ends and another takes over; the run goes on, and stops with a checkpoint",
    async () => {
      const { page, server } = at
      await page.locator(".queue").getByText("running").waitFor({ timeout: LONG })
      await expect
        .poll(() => stepsOf("first").length, { timeout: LONG, interval: 500 })
        .toBeGreaterThan(1)
      await server.close()
      const second = await at.serveAgain()
      await page.goto(second.url)
      await page.getByRole("link", { name: "first", exact: true }).click()
      await page.getByRole("button", { name: "Stop with a checkpoint" }).press("Enter")
      await page.locator("header.run .state", { hasText: "interrupted" }).waitFor({ timeout: LONG })
      const { events } = readRun(join(dir, "first"))
      expect(events.some(({ type }) => type === "checkpoint")).toBe(true)
      expect(events.at(-1)).toMatchObject({ type: "run.end", reason: "interrupted" })
      await page.getByRole("button", { name: "Resume" }).press("Enter")
      // behind the other one
      const turn = { timeout: 2 * LONG }
      await page.locator("header.run .state", { hasText: "training" }).waitFor(turn)
      await page.getByRole("button", { name: "Stop with a checkpoint" }).press("Enter")
      await page.locator("header.run .state", { hasText: "interrupted" }).waitFor({ timeout: LONG })
      const steps = stepsOf("first")
      expect(steps).toEqual([...new Set(steps)].sort((a, b) => a - b))
      // The other one waited for its turn, also while no server was there.
      await expect.poll(() => stepsOf("second"), { timeout: LONG, interval: 500 }).toHaveLength(3)
    },
    5 * LONG,
  )

  test("both are compared, and one leaves as a file that opens anywhere", async () => {
    const { page } = at
    await page.getByRole("link", { name: "Runs", exact: true }).click()
    await page.getByLabel("Compare first").check()
    await page.getByLabel("Compare second").check()
    await page.getByRole("link", { name: "Compare 2 runs" }).press("Enter")
    await page.getByRole("img", { name: /^NLL, nats a token: first .*second/ }).waitFor()
    await page.getByRole("row", { name: /^objective\.name .* "sft"$/ }).waitFor()
    await page.getByRole("row", { name: /^NLL .* [\d.]+ → [\d.]+/ }).waitFor()
    await page.getByRole("link", { name: "second", exact: true }).first().click()
    const downloaded = page.waitForEvent("download")
    await page.getByRole("link", { name: "Report as a file" }).press("Enter")
    const report = await (await downloaded).path()
    expect(readFileSync(report, "utf8")).toContain("<title>second · dftune</title>")
  })

  test(
    "it is exported: read back, with what is left of the adapter, and how to open it",
    async () => {
      const { page } = at
      await page.getByRole("link", { name: "Export", exact: true }).click()
      await page.getByRole("radio", { name: "merged" }).check()
      await page.getByLabel("numbers in").selectOption("f32")
      await page.getByRole("button", { name: "Export", exact: true }).press("Enter")
      const told = page.getByRole("article", { name: "Export merged, f32" })
      await told
        .getByText(/^It keeps (100|99)\.\d % of the adapter's effect/)
        .waitFor({ timeout: LONG })
      await told.getByText(/^Read back: \d+ tensors, .* every value is the same/).waitFor()
      expect(existsSync(join(dir, "second/export/merged-f32/model.safetensors"))).toBe(true)
      await page.getByRole("button", { name: "Export", exact: true }).press("Enter")
      await page.getByRole("button", { name: "Write it again" }).waitFor()
      await expectAccessible(page)
    },
    LONG,
  )

  test(
    "talking to it and to its base, with the probability of each token",
    async () => {
      const { page } = at
      await page.getByRole("link", { name: "Talk to it" }).click()
      expect(await page.getByLabel("Model 2").inputValue()).toBe("second")
      await page.getByLabel("most tokens").fill("6")
      await page.getByLabel("temperature").fill("0")
      await page.getByLabel("Message to all models").fill("calc 2 + 3")
      await page.keyboard.press("Enter")
      const ours = page.getByRole("region", { name: "Conversation with second" })
      await ours.locator(".tokens .seen").first().waitFor({ timeout: LONG })
      expect(await ours.locator(".tokens .seen").first().getAttribute("title")).toMatch(/^p = [01]/)
      const base = page.getByRole("region", { name: "Conversation with model" })
      await base.getByRole("button", { name: "edit the answer" }).press("Enter")
      // an open editor leaves the focus where the user takes it
      await page.getByLabel("Message to all models").pressSequentially("ab")
      expect(await page.getByLabel("Message to all models").inputValue()).toBe("ab")
      await page.getByLabel("Message to all models").fill("")
      await base.getByLabel("Changed answer").fill("It is 5.")
      await base.getByRole("button", { name: "Take it as the answer" }).press("Enter")
      await base.getByText("It is 5.").waitFor()
      // an answer that is changed while the next one is written stays changed
      let letGo = () => {}
      const held = new Promise<void>((resolve) => {
        letGo = resolve
      })
      await page.route("**/v1/chat/completions", (route) => held.then(() => route.continue()))
      await page.getByLabel("Message to all models").fill("calc 4 + 3")
      await page.keyboard.press("Enter")
      await base.getByText("writing …").waitFor()
      await base.getByRole("button", { name: "edit the answer" }).press("Enter")
      await base.getByLabel("Changed answer").fill("It is five.")
      await base.getByRole("button", { name: "Take it as the answer" }).press("Enter")
      letGo()
      await base.locator(".tokens").nth(1).waitFor({ timeout: LONG })
      expect(await base.locator(".tokens").first().innerText()).toContain("It is five.")
      await page.unroute("**/v1/chat/completions")
      await ours.locator(".tokens").nth(1).waitFor({ timeout: LONG })
      await ours.getByRole("button", { name: "edit the answer" }).first().press("Enter")
      await ours.getByLabel("Changed answer").fill("2 + 3 =")
      await ours.getByRole("button", { name: "Let the model continue it" }).press("Enter")
      await ours.locator(".context", { hasText: "2 + 3 =" }).waitFor()
      await ours.locator(".tokens .seen").first().waitFor({ timeout: LONG })
      // a server that is away for a moment
      await page.route("**/v1/chat/completions", (route) => route.abort())
      await page.getByLabel("Message to all models").fill("calc 1 + 1")
      await page.keyboard.press("Enter")
      await base.getByRole("alert").waitFor()
      expect(await axeViolations(page)).toEqual([])
      await page.unroute("**/v1/chat/completions")
      await base.getByRole("button", { name: "Try again" }).press("Enter")
      await base.locator(".tokens").nth(2).waitFor({ timeout: LONG })
      expect(await overflow(page)).toBe(0)
    },
    LONG,
  )
})
