import { readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Browser, Page } from "playwright-core"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import {
  memoryFolder,
  openTabModel,
  type RunEvent,
  rowValues,
  type StepEvent,
  TabRun,
  type TabSettings,
  tabConfig,
  tabRows,
} from "../../src/browser/index.ts"
import { openDevice } from "../../src/runtime/node.ts"
import { ROWS } from "../browser/arithmetic-rows.ts"
import { type BuiltPages, builtPages } from "./built-pages.ts"
import { CHROMIUM, launch } from "./chromium.ts"
import { TabWorker } from "./tab-worker.ts"

const MODEL = fileURLToPath(new URL("../../demo/model/", import.meta.url))
const SETTINGS: TabSettings = {
  objective: "dft",
  learning_rate: 1e-4,
  batch_size: 4,
  max_steps: 20,
  micro_batch_tokens: 256,
  data: { max_length: 192 },
}

/** The same run on this machine's own engine. */
async function nativeSteps(settings: TabSettings): Promise<StepEvent[]> {
  const files = new Map(readdirSync(MODEL).map((name) => [name, readFileSync(join(MODEL, name))]))
  const model = await openTabModel(memoryFolder("demo/model", files))
  const config = tabConfig(settings)
  const rows = tabRows("rows", rowValues(ROWS, "rows"), config, model)
  const device = await openDevice({ device: "cpu", threads: 1 })
  const run = await TabRun.open({ device, model, rows, config })
  const events: RunEvent[] = []
  for await (const event of run) events.push(event)
  await run.release()
  await device.release()
  return events.filter((event): event is StepEvent => event.type === "step")
}

/** The same in the page's worker, by the messages that the page sends it. */
async function tabSteps(
  page: Page,
  worker: string,
  device: "wasm" | "webgpu",
  settings: TabSettings,
): Promise<{ opened: { description: string }; steps: StepEvent[] }> {
  const tab = await TabWorker.start(page, worker)
  const opened = await tab.call("open", { device, threads: 1, wasmPaths: tab.url("/ort/") })
  await tab.call("load", { kind: "url", url: tab.url("/model/") }, {})
  await tab.call("rows", "train", ROWS, settings)
  await tab.call("start", "a", settings)
  const steps: StepEvent[] = []
  for (;;) {
    const events = await tab.call("advance", "a")
    if (events.length === 0) break
    steps.push(...events.filter((event): event is StepEvent => event.type === "step"))
  }
  return { opened, steps }
}

function expectClose(found: StepEvent, wanted: StepEvent, tolerance: number) {
  for (const key of ["loss", "nll", "mean_p"] as const) {
    const room = tolerance * (1 + Math.abs(wanted[key]))
    expect(Math.abs(found[key] - wanted[key]), `${key} of step ${wanted.step}`).toBeLessThan(room)
  }
}

describe.skipIf(!CHROMIUM)("a tab's steps are Node's", () => {
  let pages: BuiltPages

  beforeAll(async () => {
    pages = await builtPages()
  })
  afterAll(() => pages?.close())

  /** A page of the server that runs nothing of its own. */
  async function emptyPage(from: Browser): Promise<Page> {
    const page = await from.newPage()
    await page.goto(`${pages.url}/model/config.json`)
    return page
  }

  test("twenty steps on WebAssembly are Node's: the first three to 1e-5, the last to 1e-3", async () => {
    const wanted = await nativeSteps(SETTINGS)
    const browser = await launch()
    const page = await emptyPage(browser)
    const { opened, steps } = await tabSteps(page, pages.worker, "wasm", SETTINGS)
    expect(opened.description).toBe("WebAssembly, 1 thread")
    expect(steps).toHaveLength(20)
    for (const s of [0, 1, 2]) expectClose(steps[s]!, wanted[s]!, 1e-5)
    expectClose(steps[19]!, wanted[19]!, 1e-3)
    await browser.close()
  })

  test("three steps on WebGPU (in software) are Node's to 1e-4", async ({ skip }) => {
    const gpu = await launch({ gpu: true })
    try {
      const page = await emptyPage(gpu)
      const hasAdapter = await page.evaluate(async () => {
        const { navigator } = globalThis as unknown as {
          readonly navigator: { readonly gpu?: { requestAdapter(): Promise<unknown> } }
        }
        return Boolean(await navigator.gpu?.requestAdapter())
      })
      if (!hasAdapter) {
        console.warn("NOT TESTED on WebGPU: this Chromium has no software adapter")
        return skip()
      }
      const settings = { ...SETTINGS, batch_size: 2, max_steps: 3 }
      const wanted = await nativeSteps(settings)
      const { opened, steps } = await tabSteps(page, pages.worker, "webgpu", settings)
      expect(opened.description).toBe("GPU through WebGPU")
      for (const s of [0, 1, 2]) expectClose(steps[s]!, wanted[s]!, 1e-4)
    } finally {
      await gpu.close()
    }
  }, 180_000)
})
