import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import type { AxeResults } from "axe-core"
import { type Unzipped, unzipSync } from "fflate"
import type { Browser, Page } from "playwright-core"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { LocalSource, openModel } from "../../src/generate/index.ts"
import { type BuiltPages, builtPages } from "./built-pages.ts"
import { CHROMIUM, launch } from "./chromium.ts"
import { encoded, LINK, linkTo } from "./playground-link.ts"
import { overflow } from "./serve-pages.ts"
import { serveFolder } from "./static-server.ts"

/** What `dftune generate adapter` says in the unpacked folder, greedily. */
async function answerOf(files: Unzipped, question: string): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "dftune-adapter-"))
  for (const [name, bytes] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), bytes)
  }
  const before = process.cwd()
  process.chdir(folder) // the adapter names its base by a path from here
  const model = await openModel("adapter", { device: "cpu", threads: 1 })
  try {
    const prompt = [{ role: "user", content: question }]
    const request = { prompt, n: 1, temperature: 0, maxNewTokens: 80, seed: 1 }
    for await (const { completion } of new LocalSource(model).sample([request])) return completion
    throw new Error("no sample came")
  } finally {
    await model.release()
    process.chdir(before)
    rmSync(folder, { recursive: true })
  }
}

describe.skipIf(!CHROMIUM)("the playground in Chromium", { timeout: 180_000 }, () => {
  let pages: BuiltPages
  let browser: Browser

  beforeAll(async () => {
    pages = await builtPages()
    browser = await launch()
  })
  afterAll(async () => {
    await browser?.close()
    pages?.close()
  })

  async function openPlayground(path = "/play/", width = 1440): Promise<Page> {
    const page = await browser.newPage({ viewport: { width, height: 900 } })
    page.on("pageerror", (error) => expect.unreachable(error.message))
    await page.goto(`${pages.url}${path}`)
    await phase(page, "ready")
    return page
  }

  const phase = (page: Page, wanted: string) =>
    page.locator(`[role=status][data-phase=${wanted}]`).waitFor({ timeout: 60_000 })
  const firstStep = (page: Page) =>
    page
      .locator("[role=status][data-phase=training]:not([data-step='0'])")
      .waitFor({ timeout: 60_000 })
  const step = (page: Page) => page.locator("[role=status]").getAttribute("data-step")

  test("the tour leads through five stops, each of which does what it says", async () => {
    // two rows a step: what is held here is that it trains, and on what
    const page = await openPlayground(`/play/${linkTo({ batchSize: 2 })}`)
    await page.getByRole("button", { name: "Guided tour" }).click()
    const tour = page.getByRole("complementary", { name: "Guided tour" })
    const begin = (action: RegExp) => tour.getByRole("button", { name: action }).click()
    const next = async (title: RegExp) => {
      await tour.getByRole("button", { name: "Next" }).click()
      await tour.getByRole("heading", { name: title }).waitFor()
    }
    /** Enough to see that it trains; the tour's own steps would take minutes here. */
    const someSteps = async () => {
      await firstStep(page)
      await page.getByRole("button", { name: "Pause" }).click()
      await phase(page, "paused")
    }
    const losses = async () => [await formula(page, "A"), await formula(page, "B")]

    await begin(/three steps/)
    await phase(page, "paused")
    expect(await step(page)).toBe("3")
    const microscope = page.getByRole("region", { name: "Token microscope" })
    expect(await microscope.locator(".seen").count()).toBeGreaterThan(20)

    await next(/What is abandoned/)
    await begin(/20 steps/)
    await someSteps()
    expect(await slider(page, "steps")).toBe("20")
    expect(await losses()).toEqual(["nll", "sg(p) * nll"])

    await next(/Why greedy/)
    await begin(/temperature 1/)
    await page.locator(".said").nth(5).waitFor() // three answers of each

    await next(/When it fails/)
    await begin(/new facts/)
    await someSteps()
    expect(await page.getByRole("combobox", { name: "Data" }).inputValue()).toBe("facts")

    await next(/Your own/)
    await begin(/floor/)
    await someSteps()
    expect(await losses()).toEqual(["sg(p) * nll", "sg(max(p, 0.2)) * nll"])
    await tour.getByRole("button", { name: "Done" }).click()
    expect(await tour.count()).toBe(0)
    await page.close()
  })

  const formula = (page: Page, name: string) =>
    page.getByRole("textbox", { name: `Loss ${name}, a formula` }).inputValue()
  const slider = (page: Page, name: string) => page.getByRole("slider", { name }).inputValue()

  test("train, pause, step, reset; sliders; the microscope by keyboard; the adapter downloaded", async () => {
    const page = await openPlayground(`/play/${linkTo({ steps: 30, batchSize: 2 })}`)
    await page.getByRole("button", { name: "Train", exact: true }).click()
    await firstStep(page)
    await page.getByRole("button", { name: "Pause" }).click()
    await phase(page, "paused")
    const before = Number(await step(page))
    await page.getByRole("button", { name: "Step", exact: true }).click()
    await page.locator(`[role=status][data-step='${before + 1}'][data-phase=paused]`).waitFor()

    const tokens = page.getByRole("listbox", { name: "Tokens of A" })
    await tokens.focus()
    for (const key of ["Home", "ArrowRight", "ArrowRight"]) await page.keyboard.press(key)
    const picked = tokens.getByRole("option", { selected: true })
    expect(await picked.count()).toBe(1)
    const id = await tokens.getAttribute("aria-activedescendant")
    expect(await picked.getAttribute("id")).toBe(id)
    expect(await page.locator(".picked-line").first().textContent()).toMatch(/: p = /)

    await page.getByRole("combobox", { name: "temperature" }).selectOption("0")
    await page.getByRole("button", { name: "Ask", exact: true }).click()
    await page.locator(".said").nth(1).waitFor()
    const question = await page.getByRole("textbox", { name: "A question" }).inputValue()
    const said = await page.locator(".said").nth(1).getAttribute("data-completion")
    const download = page.waitForEvent("download")
    await page.getByRole("button", { name: "Download adapter B" }).click()
    const files = unzipSync(readFileSync((await (await download).path())!))
    expect(Object.keys(files)).toEqual(
      expect.arrayContaining([
        "README.txt",
        "adapter/adapter_model.safetensors",
        "base/config.json",
      ]),
    )
    const json = JSON.parse(new TextDecoder().decode(files["adapter/adapter_config.json"]))
    expect(json).toMatchObject({ peft_type: "LORA", r: 8, base_model_name_or_path: "base" })
    expect(await answerOf(files, question)).toBe(said)

    for (const [name, key, wanted] of [
      ["LoRA rank", "ArrowRight", { rank: 9 }],
      ["wrong solutions", "ArrowRight", { rank: 9, noise: 0.35 }],
      ["learning rate", "End", { rank: 9, noise: 0.35, learningRate: 0.0316 }],
    ] as const) {
      await page.getByRole("slider", { name }).press(key)
      await phase(page, "ready")
      expect(page.url()).toContain(linkTo({ steps: 30, batchSize: 2, ...wanted }))
    }
    expect(await step(page)).toBe("0")
    await page.getByRole("button", { name: "Step", exact: true }).click()
    await phase(page, "paused")
    await page.getByRole("button", { name: "Reset" }).click()
    await phase(page, "ready")
    expect(await step(page)).toBe("0")
    await page.close()
  })

  test("a formula is checked as one types, and a wrong one is not taken", async () => {
    const page = await openPlayground()
    const box = page.getByRole("textbox", { name: "Loss B, a formula" })
    await box.fill("sg(p) * nl")
    expect(await page.locator("#problem-b").textContent()).toMatch(/column 9.*did you mean "nll"/)
    await page.getByText("Weight of a token").click()
    expect(page.url()).toContain(linkTo({ b: "sg(p) * nll" }))
    await box.fill("p * nll")
    await box.press("Enter")
    await page.getByText(/B pushes some tokens away/).waitFor()
    await phase(page, "ready")
    expect(page.url()).toContain(linkTo({ b: "p * nll" }))
    await page.close()
  })

  test.each([
    ["an unknown key", { ...LINK, url: "https://example.org" }, /not taken/],
    ["a formula that is none", { ...LINK, a: "fetch('x')" }, /a: is no formula of a loss/],
    ["a number out of bounds", { ...LINK, learningRate: 5 }, /learningRate/],
    ["too much", { ...LINK, a: `${"1 + ".repeat(2000)}nll` }, /longer than 4 kB/],
  ])("a link with %s is refused whole", async (_, settings, message) => {
    const page = await browser.newPage()
    await page.goto(`${pages.url}/play/#s=${encoded(settings)}`)
    expect(await page.getByRole("alert").first().textContent()).toMatch(message)
    expect(await page.getByRole("textbox", { name: "Loss A, a formula" }).inputValue()).toBe("nll")
    await page.close()
  })

  test("without isolation headers a service worker adds them, and threads are there", async () => {
    const plain = await serveFolder(pages.folder, { isolated: false })
    const page = await browser.newPage()
    await page.goto(`${plain.url}/play/`)
    await page.waitForFunction(
      () => (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated,
    )
    await phase(page, "ready")
    await page.close()
    plain.close()
  })

  test("without headers and service workers it says that it has one thread, and trains", async () => {
    const plain = await serveFolder(pages.folder, { isolated: false })
    const context = await browser.newContext({ serviceWorkers: "block" })
    const page = await context.newPage()
    await page.goto(`${plain.url}/play/${linkTo({ batchSize: 2 })}`)
    await phase(page, "ready")
    await page.getByText(/not isolated from other origins.*computes on one thread/).waitFor()
    expect(await page.getByRole("status").textContent()).toContain("WebAssembly, 1 thread;")
    await page.getByRole("button", { name: "Step", exact: true }).click()
    await phase(page, "paused")
    await context.close()
    plain.close()
  })

  test("axe finds nothing serious, and nothing is wider than the window, on a desk and on a phone", async () => {
    const page = await openPlayground()
    await page.getByRole("textbox", { name: "Loss B, a formula" }).fill("p * nll + ")
    await page.locator("details.picker").evaluate((picker) => picker.setAttribute("open", ""))
    await page.addScriptTag({ path: fileURLToPath(import.meta.resolve("axe-core")) })
    for (const width of [1440, 390]) {
      await page.setViewportSize({ width, height: 900 })
      for (const colorScheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme })
        const { violations } = (await page.evaluate("axe.run()")) as AxeResults
        const serious = violations.filter(({ impact }) => /serious|critical/.test(impact ?? ""))
        const told = serious.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html)}`)
        expect(told, `${width} ${colorScheme}`).toEqual([])
      }
      expect(await overflow(page)).toBe(0)
    }
    await page.close()
  })
})
