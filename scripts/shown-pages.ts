/** The pages that the docs show, each with how a user comes to see it. */
import type { Page } from "playwright-core"

/** Long enough for a machine that does other things. */
const LONG = { timeout: 180_000 }

export interface ShownPage {
  readonly name: string
  /** Behind the address's `#`. */
  readonly at: string
  /** Until what is to be seen is there. */
  readonly until: (page: Page) => Promise<void>
}

const there = (page: Page, text: string | RegExp) =>
  page
    .getByText(text)
    .first()
    .waitFor({ ...LONG, state: "visible" })
const chart = (page: Page, name: RegExp) => page.getByRole("img", { name }).first().waitFor(LONG)
/** Charts are drawn at most four times a second. */
const settled = (page: Page) => page.waitForTimeout(600)

export const SHOWN_PAGES: readonly ShownPage[] = [
  {
    ...{ name: "runs", at: "/" },
    until: async (page) => {
      await page.getByRole("link", { name: "sums-dft", exact: true }).waitFor(LONG)
      await settled(page)
    },
  },
  {
    ...{ name: "run", at: "/run/sums-dft" },
    until: async (page) => {
      await chart(page, /^NLL, nats/)
      await there(page, "From start to end")
      await settled(page)
    },
  },
  {
    ...{ name: "rl", at: "/run/answers-grpo" },
    until: async (page) => {
      await chart(page, /^Reward of the samples/)
      await settled(page)
    },
  },
  {
    ...{ name: "tokens", at: "/run/sums-dft/tokens" },
    until: async (page) => {
      const token = page.locator("[role=option].seen:not(.context)").nth(6)
      await token.waitFor(LONG)
      await token.hover()
      const base = page.locator("dt", { hasText: "p of the base" }).locator("xpath=../dd")
      await base.filter({ hasText: /\d/ }).waitFor(LONG)
      await page
        .getByRole("list", { name: "Likeliest tokens here" })
        .getByRole("listitem")
        .first()
        .waitFor(LONG)
    },
  },
  {
    ...{ name: "pairs", at: "/run/pairs-dpo/data" },
    until: (page) => there(page, "rejected"),
  },
  {
    ...{ name: "samples", at: "/run/sums-dft/samples" },
    until: (page) => there(page, "coloured by"),
  },
  {
    ...{ name: "compare", at: "/compare/sums-sft,sums-dft" },
    until: async (page) => {
      await chart(page, /^NLL, nats.*sums-sft/)
      await there(page, "From start to end")
      await settled(page)
    },
  },
  {
    ...{ name: "export", at: "/run/sums-dft-lora/export" },
    until: async (page) => {
      const told = page.getByText(/of the adapter's effect/).first()
      const isWritten = await told.waitFor({ timeout: 3000 }).then(
        () => true,
        () => false,
      )
      if (isWritten) return
      await page.getByRole("button", { name: "Export" }).click()
      await told.waitFor(LONG)
    },
  },
  {
    ...{ name: "new-run", at: "/new" },
    until: async (page) => {
      if ((await page.getByLabel("name of the run").inputValue()) !== "") return
      await page.getByRole("button", { name: "Take the bundled model" }).click()
      await page.getByRole("button", { name: "Take the example's rows" }).click()
      await page.getByLabel("name of the run").fill("my-first-run")
      await page.getByLabel("steps (empty").fill("100")
      await page.getByRole("combobox", { name: "objective" }).selectOption("formula")
      await page.getByRole("button", { name: "Probe first" }).click()
      await page.getByRole("region", { name: "Probe" }).waitFor(LONG)
    },
  },
  {
    ...{ name: "chat", at: "/chat/sums-dft" },
    until: async (page) => {
      if ((await page.locator(".question").count()) > 0) return
      await page.getByLabel("temperature").fill("0")
      await page.getByLabel("most tokens").fill("48")
      await page.getByLabel("Message to all models").fill("calc 7 + 5 * 2")
      await page.keyboard.press("Enter")
      await page.locator(".tokens .seen").first().waitFor(LONG)
      await page
        .getByText("writing …")
        .first()
        .waitFor({ ...LONG, state: "hidden" })
    },
  },
]
