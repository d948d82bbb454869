/**
 * Makes docs/images/demo-report.png anew, of the report of a finished demo:
 *
 *     npm run demo && npx tsx scripts/screenshots.ts [--demo runs/demo] [--out docs/images]
 *
 * Needs Chromium (DFTUNE_CHROMIUM names one that is not where Debian puts it).
 */
import { existsSync } from "node:fs"
import { join, resolve } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { parseArgs } from "node:util"
import { CHROMIUM, launch } from "../test/web/chromium.ts"

const IMAGES = fileURLToPath(new URL("../docs/images", import.meta.url))
/** As wide as a README is shown, and down to the end of the first table. */
const SIZE = { width: 1100, height: 1130 }

const { values } = parseArgs({
  options: {
    demo: { type: "string", default: "runs/demo" },
    out: { type: "string", default: IMAGES },
  },
})
const report = resolve(values.demo, "report.html")
if (!existsSync(report)) throw new Error(`${report}: no such file; npm run demo writes one`)
if (CHROMIUM === undefined) throw new Error("no Chromium here")
const browser = await launch()
try {
  const page = await browser.newPage({ viewport: SIZE })
  await page.goto(pathToFileURL(report).href)
  const path = join(values.out, "demo-report.png")
  await page.screenshot({ path })
  console.error(path)
} finally {
  await browser.close()
}
