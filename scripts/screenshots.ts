/**
 * Makes the pictures of the docs anew:
 *
 *     npm run build && npx tsx scripts/screenshots.ts [--runs FOLDER] [--demo runs/demo] [--only run,chat] [--all FOLDER]
 *
 * Every page over real runs of the demo's model (trained into FOLDER where it holds none), as a
 * desk sees it in light colours and a phone in dark ones; the playground; of a finished demo its
 * report (`--only report` trains nothing). `--all` writes each page at 1440 and 390 pixels, light
 * and dark, into a folder instead. Needs Chromium (DFTUNE_CHROMIUM names one that is not where
 * Debian puts it).
 */
import { existsSync, mkdirSync, mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join, resolve } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { parseArgs } from "node:util"
import type { Browser, Page } from "playwright-core"
import { serve } from "../src/server/index.ts"
import { CHROMIUM, launch } from "../test/web/chromium.ts"
import { SHOWN_PAGES, type ShownPage } from "./shown-pages.ts"
import { makeShownRuns } from "./shown-runs.ts"

const IMAGES = fileURLToPath(new URL("../docs/images", import.meta.url))
const DESK = { width: 1440, height: 900 }
const PHONE = { width: 390, height: 844 }
/** As wide as a README is shown, and down to the end of the first table. */
const REPORT = { width: 1100, height: 1130 }
const PLAYGROUND_MS = 400_000

const { values } = parseArgs({
  options: {
    runs: { type: "string" },
    demo: { type: "string", default: "runs/demo" },
    only: { type: "string" },
    all: { type: "string" },
  },
})
const wanted = values.only?.split(",")
const isWanted = (name: string) => wanted === undefined || wanted.includes(name)

type Scheme = "light" | "dark"

async function shot(page: Page, size: typeof DESK, colorScheme: Scheme): Promise<Buffer> {
  await page.setViewportSize(size)
  await page.emulateMedia({ colorScheme })
  await page.waitForTimeout(500)
  return page.screenshot()
}

/** A desk's picture and a phone's beside each other. */
async function besideEachOther(browser: Browser, desk: Buffer, phone: Buffer): Promise<Buffer> {
  const page = await browser.newPage({ viewport: { width: 1302, height: 640 } })
  const image = (bytes: Buffer) =>
    `<img style="height:600px;border:1px solid #8884;border-radius:8px" src="data:image/png;base64,${bytes.toString("base64")}">`
  await page.setContent(
    `<body style="margin:20px;display:flex;gap:20px;background:#fff">${image(desk)}${image(phone)}</body>`,
  )
  const bytes = await page.screenshot()
  await page.close()
  return bytes
}

async function writePage(browser: Browser, page: Page, { name }: ShownPage): Promise<void> {
  if (values.all !== undefined) {
    for (const scheme of ["light", "dark"] as const) {
      for (const size of [DESK, PHONE]) {
        const file = join(values.all, `${name}-${size.width}-${scheme}.png`)
        writeFileSync(file, await shot(page, size, scheme))
      }
    }
    return
  }
  const desk = await shot(page, DESK, "light")
  const phone = await shot(page, PHONE, "dark")
  const file = join(IMAGES, `page-${name}.png`)
  writeFileSync(file, await besideEachOther(browser, desk, phone))
  console.error(file)
}

async function writePages(browser: Browser, dir: string): Promise<void> {
  const server = await serve({ dir, port: 0, models: [], say: (text) => console.error(text) })
  try {
    const page = await browser.newPage({ viewport: DESK, colorScheme: "light" })
    await page.goto(server.url)
    for (const shown of SHOWN_PAGES.filter(({ name }) => isWanted(name))) {
      await page.setViewportSize(DESK)
      await page.evaluate(`location.hash = ${JSON.stringify(shown.at)}`)
      await shown.until(page)
      await writePage(browser, page, shown)
    }
    if (isWanted("playground")) await writePlayground(browser, server.url)
  } finally {
    await server.close()
  }
}

/** After the tour's first steps, as its user sees it. */
async function writePlayground(browser: Browser, url: string): Promise<void> {
  const page = await browser.newPage({ viewport: { width: 1440, height: 1200 } })
  await page.goto(new URL("/play/", url).href)
  const phase = (name: string) =>
    page.locator(`[role=status][data-phase=${name}]`).waitFor({ timeout: PLAYGROUND_MS })
  await phase("ready")
  await page.getByRole("button", { name: /three steps/ }).click()
  await phase("paused")
  const file = join(values.all ?? IMAGES, "playground.png")
  await page.screenshot({ path: file, fullPage: true })
  console.error(file)
}

async function writeReport(browser: Browser): Promise<void> {
  const report = resolve(values.demo, "report.html")
  if (!existsSync(report)) return console.error(`${report}: no such file; npm run demo writes one`)
  const page = await browser.newPage({ viewport: REPORT })
  await page.goto(pathToFileURL(report).href)
  await page.waitForTimeout(500)
  const file = join(values.all ?? IMAGES, "demo-report.png")
  await page.screenshot({ path: file })
  console.error(file)
}

if (CHROMIUM === undefined) throw new Error("no Chromium here")
if (values.all !== undefined) mkdirSync(values.all, { recursive: true })
const needsRuns = wanted === undefined || wanted.some((name) => name !== "report")
const dir = resolve(values.runs ?? mkdtempSync(join(tmpdir(), "dftune-shown-")))
if (needsRuns && !existsSync(join(dir, "answers-grpo"))) await makeShownRuns(dir)
const browser = await launch()
try {
  if (needsRuns) await writePages(browser, dir)
  if (isWanted("report")) await writeReport(browser)
} finally {
  await browser.close()
}
