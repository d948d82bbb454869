import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Browser } from "playwright-core"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { ROWS } from "../browser/arithmetic-rows.ts"
import { CHROMIUM, launch } from "./chromium.ts"
import { type StaticServer, serveFolder } from "./static-server.ts"

const ROOT = fileURLToPath(new URL("../../", import.meta.url))
const isBuilt = existsSync(join(ROOT, "dist/browser/index.js"))
if (!isBuilt) console.warn("NOT TESTED as an outside page: dist/ is not built (npm run build)")

/** The worker's module that docs/browser.md shows, with fewer steps; what it logs is posted. */
function shownModule(): string {
  const page = readFileSync(join(ROOT, "docs/browser.md"), "utf8")
  const [, shown] = /```ts\n([^`]*dftune\/browser[^`]*)```/.exec(page)!
  const short = shown!.replace(/max_steps: \d+, batch_size: \d+/, "max_steps: 2, batch_size: 4")
  expect(short).not.toBe(shown)
  return `${short
    .replaceAll("console.log(", "postMessage([")
    .replace("event.step)", "event.step])")
    .replace("completion)\n", "completion])\n")}
postMessage(["files", [...files.keys()].join()])
`
}

const PAGE = `
const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" })
window.said = []
worker.onmessage = ({ data }) => window.said.push(data)
worker.onerror = ({ message }) => window.said.push(["failed", message])
`

describe.skipIf(!CHROMIUM || !isBuilt)("a page of somebody else", { timeout: 180_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), "dftune-outside-"))
  let server: StaticServer
  let browser: Browser

  beforeAll(async () => {
    const { build } = await import("vite")
    mkdirSync(join(folder, "node_modules"))
    symlinkSync(ROOT, join(folder, "node_modules/dftune"))
    const runtime = join(ROOT, "node_modules/onnxruntime-web")
    symlinkSync(runtime, join(folder, "node_modules/onnxruntime-web"))
    writeFileSync(join(folder, "worker.ts"), shownModule())
    writeFileSync(join(folder, "page.ts"), PAGE)
    writeFileSync(join(folder, "index.html"), '<script type="module" src="/page.ts"></script>')
    const worker = { format: "es" } as const
    await build({ root: folder, configFile: false, logLevel: "error", worker })
    symlinkSync(join(runtime, "dist"), join(folder, "dist/ort"))
    symlinkSync(join(ROOT, "demo/model"), join(folder, "dist/model"))
    writeFileSync(join(folder, "dist/rows.jsonl"), ROWS)
    server = await serveFolder(join(folder, "dist"))
    browser = await launch()
  })
  afterAll(async () => {
    await browser?.close()
    server?.close()
    rmSync(folder, { recursive: true, force: true })
  })

  test("trains with dftune/browser as its documentation shows, built with Vite", async () => {
    const page = await browser.newPage()
    await page.goto(`${server.url}/`)
    const said = () =>
      page.evaluate(() => (globalThis as unknown as { said: (readonly unknown[])[] }).said)
    await expect
      .poll(async () => (await said()).at(-1)?.[0], { timeout: 150_000 })
      .toMatch(/files|failed/)
    const all = await said()
    expect(all.at(-1)).toEqual(["files", "adapter_config.json,adapter_model.safetensors"])
    expect(all.filter(([type]) => type === "step")).toEqual([
      ["step", 1],
      ["step", 2],
    ])
    expect(all.map(([type]) => type)).toContain("run.end")
  })
})
