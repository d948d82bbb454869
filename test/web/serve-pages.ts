/** The built pages over a folder of runs, and a browser at them. */
import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import type { AxeResults } from "axe-core"
import type { Browser, Page } from "playwright-core"
import { afterAll, expect } from "vitest"
import { type ServeOptions, type Serving, serve } from "../../src/server/index.ts"
import { dftuneCommand } from "../dftune.ts"
import { builtPages } from "./built-pages.ts"
import { launch } from "./chromium.ts"

export interface Visit {
  readonly server: Serving
  readonly browser: Browser
  readonly page: Page
  /** What went wrong in the page: errors, and what its policy refused. */
  readonly broken: string[]
  /** Another server over the same folder, as after a restart. */
  serveAgain(): Promise<Serving>
}

/** A server with the built pages, opened by its URL as a user does. */
export async function visit(options: Partial<ServeOptions> & { dir: string }): Promise<Visit> {
  const built = await builtPages()
  const open = { threads: 2 } as const
  const servers: Serving[] = []
  const serveAgain = async () => {
    const own = { jobCommand: dftuneCommand, pages: built.folder }
    const more = { port: 0, models: [], open, say: () => {}, ...own }
    const server = await serve({ ...more, ...options })
    servers.push(server)
    return server
  }
  const server = await serveAgain()
  const browser = await launch()
  afterAll(async () => {
    await browser.close()
    for (const one of servers) await one.close()
    built.close()
  })
  const broken: string[] = []
  const page = await (await browser.newContext()).newPage()
  page.on("pageerror", ({ message }) => broken.push(message))
  page.on("console", (message) => {
    if (message.type() === "error") broken.push(message.text())
  })
  await page.goto(server.url)
  return { server, browser, page, broken, serveAgain }
}

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js")

/** Each rule that the page breaks, with where. */
export async function axeViolations(page: Page): Promise<string[]> {
  await page.evaluate(readFileSync(AXE, "utf8"))
  const { violations } = (await page.evaluate("axe.run(document)")) as AxeResults
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(", ")}`)
}

/** How much wider than the window the page is, px. */
export const overflow = (page: Page): Promise<number> =>
  page.evaluate(
    "document.documentElement.scrollWidth - document.documentElement.clientWidth",
  ) as Promise<number>

/** Resolves when what the page makes of a new width (what scrolls then) is drawn. */
const DRAWN =
  "new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(drawn, 50))))"

/**
 * Fails where the page breaks a rule of axe or is wider than its window, on a screen and a phone.
 */
export async function expectAccessible(page: Page): Promise<void> {
  for (const [width, colorScheme] of [
    [1440, "light"],
    [390, "dark"],
  ] as const) {
    await page.setViewportSize({ width, height: 900 })
    await page.emulateMedia({ colorScheme })
    await page.evaluate(DRAWN)
    expect(await axeViolations(page)).toEqual([])
    expect(await overflow(page)).toBe(0)
  }
}
