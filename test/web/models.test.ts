import { readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Browser, BrowserContext, Page } from "playwright-core"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { type BuiltPages, builtPages } from "./built-pages.ts"
import { CHROMIUM, launch } from "./chromium.ts"
import { TabWorker } from "./tab-worker.ts"

const MODEL = fileURLToPath(new URL("../../demo/model/", import.meta.url))
const NAMES = ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
const COMMIT = "0123456789abcdef0123456789abcdef01234567"
/** Writes over a few bytes of a file that the page's origin keeps. */
function damage(page: Page, name: string): Promise<void> {
  return page.evaluate(
    async ([commit, name]) => {
      interface Directory {
        getDirectoryHandle(name: string): Promise<Directory>
        getFileHandle(name: string): Promise<{
          createWritable(options: object): Promise<{
            write(data: object): Promise<void>
            close(): Promise<void>
          }>
        }>
      }
      const { navigator } = globalThis as unknown as {
        navigator: { storage: { getDirectory(): Promise<Directory> } }
      }
      let folder = await navigator.storage.getDirectory()
      for (const part of ["dftune-models", "owner%2Fone", commit!]) {
        folder = await folder.getDirectoryHandle(part)
      }
      const file = await folder.getFileHandle(name!)
      const target = await file.createWritable({ keepExistingData: true })
      await target.write({ type: "write", position: 5000, data: new Uint8Array(8) })
      await target.close()
    },
    [COMMIT, name],
  )
}

/** What Llama 3.1 8B says of itself: more than any tab holds. */
const LARGE = {
  model_type: "llama",
  ...{ hidden_size: 4096, intermediate_size: 14336, num_hidden_layers: 32, vocab_size: 128256 },
  ...{ num_attention_heads: 32, num_key_value_heads: 8, max_position_embeddings: 8192 },
  ...{ rms_norm_eps: 1e-5, rope_theta: 5e5, hidden_act: "silu", tie_word_embeddings: false },
}

describe.skipIf(!CHROMIUM)("a model of one's own in the playground", { timeout: 180_000 }, () => {
  let pages: BuiltPages
  let browser: Browser
  let context: BrowserContext
  let asked: string[]

  beforeAll(async () => {
    pages = await builtPages()
    browser = await launch()
  })
  afterAll(async () => {
    await browser?.close()
    pages?.close()
  })
  beforeEach(async () => {
    context = await browser.newContext()
    asked = []
    await context.route("https://huggingface.co/**", async (route) => {
      const url = new URL(route.request().url())
      asked.push(url.pathname)
      const headers = { "access-control-allow-origin": "*" }
      const [, owner, name] = /^\/(?:api\/models\/)?(\w+)\/(\w+)\//.exec(url.pathname) ?? []
      if (owner !== "owner") return route.fulfill({ status: 404, headers, body: "none" })
      const bytes = (file: string) =>
        name === "large" && file === "config.json"
          ? Buffer.from(JSON.stringify(LARGE))
          : readFileSync(join(MODEL, file))
      const siblings = NAMES.map((file) => ({ rfilename: file, size: bytes(file).length }))
      if (url.pathname.startsWith("/api/")) {
        return route.fulfill({ headers, json: { sha: COMMIT, siblings } })
      }
      return route.fulfill({ headers, body: bytes(url.pathname.split("/").at(-1)!) })
    })
  })
  afterEach(() => context.close())

  const phase = (page: Page, wanted: string) =>
    page.locator(`[role=status][data-phase=${wanted}]`).waitFor({ timeout: 60_000 })
  const files = () => asked.filter((path) => path.includes("/resolve/"))
  const alert = (page: Page) => page.getByRole("alert").textContent()

  async function openPlayground(): Promise<Page> {
    const page = await context.newPage()
    page.on("pageerror", (error) => expect.unreachable(error.message))
    await page.goto(`${pages.url}/play/`)
    await phase(page, "ready")
    return page
  }

  const openPicker = (page: Page) =>
    page.locator("details.picker").evaluate((picker) => picker.setAttribute("open", ""))

  async function fromHub(page: Page, id: string): Promise<void> {
    await openPicker(page)
    await page.getByRole("textbox", { name: "A hub id" }).fill(id)
    await page.getByRole("button", { name: "From the hub" }).click()
  }

  test("comes from the hub, trains and speaks, and what is kept of it can be deleted", async () => {
    const page = await openPlayground()
    await fromHub(page, "owner/one")
    // loading may be over before it is seen; the name comes with the model
    await page.locator("[role=status][data-phase=ready]", { hasText: "owner/one" }).waitFor()
    await page.getByRole("button", { name: "Step", exact: true }).click()
    await phase(page, "paused")
    const status = page.getByRole("status")
    expect(await status.textContent()).toMatch(
      /owner\/one, .*step 1 of 60; memory: \d+ MB reckoned/,
    )
    await page.getByRole("button", { name: "Ask", exact: true }).click()
    await page.locator(".said").nth(1).waitFor()
    await openPicker(page)
    await page.getByRole("button", { name: "Delete owner/one" }).click()
    await page.getByRole("region", { name: "Saved models" }).waitFor({ state: "detached" })
    await fromHub(page, "nobody/none")
    await phase(page, "failed")
    expect(await alert(page)).toMatch(/nobody\/none: the hub has no public model of this name/)
  })

  test("is fetched once, again where what was kept is damaged, and opens without a network", async () => {
    const page = await context.newPage()
    await page.goto(`${pages.url}/model/config.json`)
    const tab = await TabWorker.start(page, pages.worker)
    const load = (id = "owner/one") => tab.call("load", { kind: "hub", id }, {})
    const weights = `/owner/one/resolve/${COMMIT}/model.safetensors`
    await load()
    expect(files()).toContain(weights)
    asked.length = 0
    await load()
    expect(files()).toEqual([])
    await damage(page, "model.safetensors")
    await load()
    expect(files()).toEqual([weights])
    const [kept, ...others] = await tab.call("saved")
    expect(kept).toMatchObject({ id: "owner/one" })
    expect(others).toEqual([])

    asked.length = 0
    await expect(load("owner/large")).rejects.toThrow(
      /owner\/large: this tab cannot hold it: it needs about \d+/,
    )
    expect(files()).toEqual([`/owner/large/resolve/${COMMIT}/config.json`])

    await context.unroute("https://huggingface.co/**")
    await context.route("https://huggingface.co/**", (route) => route.abort())
    await load()
  })

  test("comes from a dropped folder; files that are no model are named", async () => {
    const page = await openPlayground()
    await openPicker(page)
    const drop = (names: readonly string[]) =>
      page.locator(".picker-body").evaluate(async (target, names) => {
        const scope = globalThis as unknown as {
          DataTransfer: new () => { items: { add(file: File): void } }
          DragEvent: new (type: string, init: object) => Event
        }
        const dataTransfer = new scope.DataTransfer()
        for (const name of names) {
          const blob = await (await fetch(`../model/${name}`)).blob()
          dataTransfer.items.add(new File([blob], name))
        }
        const dropped = new scope.DragEvent("drop", {
          dataTransfer,
          bubbles: true,
          cancelable: true,
        })
        ;(target as unknown as EventTarget).dispatchEvent(dropped)
      }, names)
    await drop(NAMES)
    await phase(page, "loading")
    await phase(page, "ready")
    await expect.poll(() => page.getByRole("status").textContent()).toMatch(/; dropped, /)
    await openPicker(page)
    await drop(["tokenizer.json"])
    await phase(page, "failed")
    await expect.poll(() => alert(page)).toMatch(/dropped: .*a folder without config\.json/)
  })

  test("rows come from a file, and an adapter goes into a folder", async () => {
    const page = await openPlayground()
    await page.getByRole("combobox", { name: "Data" }).selectOption("own")
    const [chooser] = await Promise.all([
      page.waitForEvent("filechooser"),
      page.getByRole("button", { name: "Open a file…" }).click(),
    ])
    const row = { prompt: "2 + 2 = ", completion: "4" }
    const lines = Array.from({ length: 12 }, () => JSON.stringify(row)).join("\n")
    const given = (name: string, text: string | Buffer) =>
      chooser.setFiles({ name, mimeType: "text/plain", buffer: Buffer.from(text) })
    await given("rows.bin", Buffer.from([0xff, 0xfe, 0]))
    await page.getByText(/rows\.bin: expected text/).waitFor()
    await given("rows.jsonl", `${lines}\n{"prompt": 3}\n`)
    await page.getByRole("button", { name: "Train on these" }).click()
    await phase(page, "failed")
    expect(await alert(page)).toMatch(/rows:13/)
    await given("rows.jsonl", lines)
    await page.getByRole("button", { name: "Train on these" }).click()
    await phase(page, "ready")
    await page.getByText(/10 rows, /).waitFor()
    await page.getByRole("button", { name: "Step", exact: true }).click()
    await phase(page, "paused")

    // The origin's own folder stands for one that a person would choose: it has the same interface.
    await page.evaluate(() => {
      const scope = globalThis as unknown as {
        navigator: { storage: { getDirectory(): Promise<unknown> } }
        showDirectoryPicker: () => Promise<unknown>
      }
      scope.showDirectoryPicker = () => scope.navigator.storage.getDirectory()
    })
    await page.getByRole("button", { name: "Save adapter B in a folder" }).click()
    await expect
      .poll(() =>
        page.evaluate(async () => {
          const { navigator } = globalThis as unknown as {
            navigator: { storage: { getDirectory(): Promise<{ keys(): AsyncIterable<string> }> } }
          }
          const names: string[] = []
          for await (const name of (await navigator.storage.getDirectory()).keys()) names.push(name)
          return names
        }),
      )
      .toEqual(expect.arrayContaining(["adapter_config.json", "adapter_model.safetensors"]))
  })
})
