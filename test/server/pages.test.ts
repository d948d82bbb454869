import type { Page } from "playwright-core"
import { afterAll, describe, expect, test } from "vitest"
import { builtPages } from "../web/built-pages.ts"
import { CHROMIUM, launch } from "../web/chromium.ts"
import { ask, serving } from "./serving.ts"

test("pages that are not built are said to be so", async () => {
  const absent = await serving({ pages: "/nowhere", models: [] })
  const answer = await ask(absent.port, "/play/")
  expect([answer.status, answer.text]).toEqual([404, expect.stringContaining("npm run build")])
})

// Building the pages takes seconds: only where a browser can look at them.
const built = CHROMIUM ? await builtPages() : undefined
afterAll(() => built?.close())
const { port, url, token } = await serving({ pages: built?.folder ?? "/nowhere", models: [] })
const withPages = test.skipIf(!built)

withPages("pages are for everyone, and only the playground may compile", async () => {
  const play = await ask(port, "/play/")
  expect(play.status).toBe(200)
  const policy = String(play.headers["content-security-policy"])
  expect(policy).toContain("script-src 'self' 'wasm-unsafe-eval';")
  expect(policy).toContain("worker-src 'self' blob:")
  expect(policy).toContain(`connect-src http://127.0.0.1:${port}/ort/`)
  expect(policy).not.toMatch(/connect-src [^;]*'self'/)
  expect(play.headers["cross-origin-embedder-policy"]).toBe("require-corp")
  expect(play.headers["set-cookie"]).toBeUndefined()
  for (const path of ["/api/runs", "/isolate.js", built!.worker.replace("worker-", "x")]) {
    const { headers } = await ask(port, path)
    expect(headers["content-security-policy"]).not.toContain("wasm-unsafe-eval")
  }
  expect((await ask(port, "/model/config.json")).status).toBe(200)
})

withPages("no file but the pages' own is sent", async () => {
  const headers = { Authorization: `Bearer ${token}` }
  for (const path of [
    ..."/play/../../package.json /%2e%2e/package.json /play/%2e%2e%2f%2e%2e%2fpackage.json".split(
      " ",
    ),
    ..."/model/training-log.jsonl /assets/ /model/ /constructor /__proto__".split(" "),
  ]) {
    expect((await ask(port, path, { headers })).status, path).toBe(404)
  }
})

describe.skipIf(!CHROMIUM)("in Chromium", () => {
  test("the playground trains under its policy, and reaches no API with the session's cookie", async () => {
    const browser = await launch()
    const page: Page = await browser.newPage()
    const broken: string[] = []
    page.on("pageerror", ({ message }) => broken.push(message))
    await page.goto(new URL("/play/", url).href)
    await page.locator("[role=status][data-phase=ready]").waitFor({ timeout: 60_000 })
    await page.getByRole("button", { name: /three steps/ }).click()
    await page.locator("[role=status][data-step='3']").waitFor({ timeout: 60_000 })
    expect(await page.evaluate("crossOriginIsolated")).toBe(true)
    const reached = await page.evaluate(
      `fetch("/api/session", { method: "POST", headers: { "content-type": "application/json" }, body: "{}" }).then(() => "reached", () => "refused")`,
    )
    expect(reached).toBe("refused")
    expect(broken).toEqual([])
    await browser.close()
  }, 120_000)
})
