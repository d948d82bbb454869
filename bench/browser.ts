/**
 * A browser's tab beside the native engine on this machine, one thread each, steps taken in turn.
 *
 *     npm run bench -- browser [--steps 12]                    the bundled model: WebAssembly's share of native float32
 *     npm run bench -- browser --bytes                         what the playground fetches before its first step
 *     npm run bench -- browser --model FOLDER [--steps 3]      a model of your own, held in 8 bits: opening, steps, sampling, memory
 *
 * Needs Chromium (DFTUNE_CHROMIUM, or where Debian puts it). Medians of the steps' own times; the
 * machine's other work slows both.
 */
import { readdirSync, readFileSync } from "node:fs"
import { basename, join, resolve } from "node:path"
import { parseArgs } from "node:util"
import { gzipSync } from "node:zlib"
import type { Browser, Page } from "playwright-core"
import {
  memoryFolder,
  openTabModel,
  rowValues,
  TabRun,
  type TabSettings,
  tabConfig,
  tabRows,
} from "../src/browser/index.ts"
import { noisyArithmetic } from "../src/demo/tasks.ts"
import { openDevice } from "../src/runtime/node.ts"
import { type BuiltPages, builtPages } from "../test/web/built-pages.ts"
import { CHROMIUM, launch } from "../test/web/chromium.ts"
import { TabWorker } from "../test/web/tab-worker.ts"
import { median } from "./block.ts"

const DEMO_MODEL = resolve("demo/model")
const QUANTIZATION = { bits: 8, groupSize: 64 } as const

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      steps: { type: "string" },
      model: { type: "string" },
      bytes: { type: "boolean" },
    },
  })
  if (!CHROMIUM) throw new Error("no Chromium; set DFTUNE_CHROMIUM")
  const steps = Number(values.steps ?? (values.model ? 3 : 12))
  const pages = await builtPages(values.model ? { own: resolve(values.model) } : {})
  const browser = await launch()
  try {
    if (values.bytes) return await bytesBeforeFirstStep(browser, pages)
    const page = await browser.newPage()
    await page.goto(`${pages.url}/model/config.json`)
    const tab = await TabWorker.start(page, pages.worker)
    const opened = await tab.call("open", {
      device: "wasm",
      threads: 1,
      wasmPaths: tab.url("/ort/"),
    })
    console.log(opened.description)
    if (values.model) await ownModel(page, tab, basename(values.model), steps)
    else await besideNative(tab, steps)
  } finally {
    await browser.close()
    pages.close()
  }
}

const settings = (steps: number, batchSize: number): TabSettings => ({
  objective: "dft",
  learning_rate: 1e-4,
  lr_scheduler: "constant",
  batch_size: batchSize,
  max_steps: steps,
  micro_batch_tokens: 1024,
  data: { max_length: 192 },
  adapter: { type: "lora", r: 8, lora_alpha: 16 },
})

const ROWS = noisyArithmetic({ trainRows: 640, questions: 1 }, 0.3).train.join("\n")

async function besideNative(tab: TabWorker, steps: number): Promise<void> {
  const device = await openDevice({ device: "cpu", threads: 1, dtype: "fp32" })
  const files = new Map(
    readdirSync(DEMO_MODEL).map((name) => [name, readFileSync(join(DEMO_MODEL, name))]),
  )
  const model = await openTabModel(memoryFolder("demo/model", files))
  const config = tabConfig(settings(steps, 32))
  const rows = tabRows("rows", rowValues(ROWS, "rows"), config, model)
  const native = await TabRun.open({ device, model, rows, config })
  await tab.call("load", { kind: "url", url: tab.url("/model/") }, {})
  await tab.call("rows", "train", ROWS, settings(steps, 32))
  await tab.call("start", "a", settings(steps, 32))
  const [inTab, here]: [number[], number[]] = [[], []]
  for (let step = 0; step < steps; step++) {
    inTab.push(await seconds(() => tab.call("advance", "a")))
    here.push(await seconds(() => native.advance()))
  }
  const [a, b] = [median(inTab.slice(1)), median(here.slice(1))]
  console.log(`a step of 32 rows: WebAssembly ${ms(a)}, native float32 ${ms(b)}`)
  console.log(`WebAssembly's share of native float32: ${(b / a).toFixed(2)}`)
  await native.release()
  await device.release()
}

async function ownModel(page: Page, tab: TabWorker, name: string, steps: number): Promise<void> {
  const load = () =>
    tab.call("load", { kind: "url", url: tab.url("/own/") }, { name, quantization: QUANTIZATION })
  console.log(`opened in ${ms(await seconds(load))}`)
  const own = settings(steps, 8)
  const { tokens } = await tab.call("rows", "train", ROWS, own)
  const { total } = await tab.call("memory", own)
  await tab.call("start", "a", own)
  const each: number[] = []
  for (let step = 0; step < steps; step++) {
    each.push(await seconds(() => tab.call("advance", "a")))
  }
  console.log(`a step of 8 rows (${Math.round((tokens / 640) * 8)} tokens): ${ms(median(each))}`)
  console.log(`reckoned ${gigabytes(total)}; the tab holds ${gigabytes(await heldBytes(page))}`)
  for (const [n, maxNewTokens] of [
    [1, 16],
    [4, 16],
  ] as const) {
    const prompt = [{ role: "user", content: "Say hello." }]
    const request = { prompt, n, temperature: 1, maxNewTokens, seed: 1 }
    let made = 0
    const took = await seconds(async () => {
      for (const { tokens } of await tab.call("sample", "a", request)) made += tokens.length
    })
    console.log(`${n} sample(s), ${made} tokens: ${ms(took)}, ${ms(took / made)} a token`)
  }
  console.log(`afterwards the tab holds ${gigabytes(await heldBytes(page))}`)
}

/** What the playground asks its server for until a step is made, as gzip -6 sends it. */
async function bytesBeforeFirstStep(browser: Browser, pages: BuiltPages): Promise<void> {
  const context = await browser.newContext()
  const asked = new Set<string>()
  context.on("response", (response) => {
    if (response.status() === 200) asked.add(new URL(response.url()).pathname)
  })
  const page = await context.newPage()
  await page.goto(`${pages.url}/play/`)
  await page.getByRole("button", { name: "Step", exact: true }).click({ timeout: 120_000 })
  await page.locator("[role=status][data-step='1']").waitFor({ timeout: 120_000 })
  let all = 0
  for (const path of asked) {
    const file = join(pages.folder, path.endsWith("/") ? `${path}index.html` : path)
    const bytes = gzipSync(readFileSync(file), { level: 6 }).length
    all += bytes
    console.log(`${(bytes / 1e6).toFixed(3).padStart(8)} MB  ${path}`)
  }
  console.log(`${(all / 1e6).toFixed(2).padStart(7)}  MB before the first step, gzip -6`)
}

/** What the page and its workers hold, as the browser measures it. */
async function heldBytes(page: Page): Promise<number> {
  return page.evaluate(async () => {
    const { performance } = globalThis as unknown as {
      readonly performance: {
        measureUserAgentSpecificMemory?(): Promise<{ readonly bytes: number }>
      }
    }
    return (await performance.measureUserAgentSpecificMemory?.())?.bytes ?? Number.NaN
  })
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return (performance.now() - start) / 1000
}

const ms = (value: number) =>
  value < 10 ? `${(value * 1000).toFixed(0)} ms` : `${value.toFixed(1)} s`
const gigabytes = (bytes: number) => `${(bytes / 1e9).toFixed(2)} GB`
