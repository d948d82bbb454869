import { mkdirSync, symlinkSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import type { Page } from "playwright-core"
import { afterAll, describe, expect, test } from "vitest"
import { CONTENT_SECURITY_POLICY } from "../../src/server/guard.ts"
import { builtPages } from "../web/built-pages.ts"
import { CHROMIUM, launch } from "../web/chromium.ts"
import { linkTo } from "../web/playground-link.ts"
import { ask, newFolder, serving } from "./serving.ts"

test("pages that are not built are said to be so", async () => {
  const absent = await serving({ pages: "/nowhere", models: [] })
  const answer = await ask(absent.port, "/play/")
  expect([answer.status, answer.text]).toEqual([404, expect.stringContaining("npm run build")])
})

/** A few files where the built pages would lie, so that the rules are tried without a build. */
function handMade(): string {
  const folder = join(newFolder(), "web")
  const files = "index.html play/index.html assets/runs-1.js assets/worker-1.js ort/run.wasm"
  for (const name of files.split(" ")) {
    mkdirSync(dirname(join(folder, name)), { recursive: true })
    writeFileSync(join(folder, name), name)
  }
  writeFileSync(join(folder, "../outside.txt"), "outside")
  symlinkSync("../outside.txt", join(folder, "link.txt"))
  return folder
}
const made = await serving({ pages: handMade(), models: [] })

test("pages are for everyone, and only the playground may compile", async () => {
  const policyOf = async (path: string) => {
    const { status, headers } = await ask(made.port, path)
    expect([path, status]).toEqual([path, 200])
    expect(headers["set-cookie"]).toBeUndefined()
    return String(headers["content-security-policy"])
  }
  for (const path of ["/", "/assets/runs-1.js"]) {
    expect(await policyOf(path)).toBe(CONTENT_SECURITY_POLICY)
  }
  for (const path of ["/play/", "/assets/worker-1.js", "/ort/run.wasm"]) {
    const policy = await policyOf(path)
    expect(policy).toContain("script-src 'self' 'wasm-unsafe-eval';")
    expect(policy).toContain("worker-src 'self' blob:")
    expect(policy).toContain(`connect-src http://127.0.0.1:${made.port}/ort/`)
    expect(policy).not.toMatch(/connect-src [^;]*'self'/)
  }
  const { headers } = await ask(made.port, "/play/")
  expect(headers["cross-origin-embedder-policy"]).toBe("require-corp")
  expect((await ask(made.port, "/model/config.json")).status).toBe(200)
})

test("no file but the pages' own is sent", async () => {
  const headers = { Authorization: `Bearer ${made.token}` }
  for (const path of [
    ..."/play/../../package.json /%2e%2e/package.json /play/%2e%2e%2f%2e%2e%2fpackage.json".split(
      " ",
    ),
    ..."/../outside.txt /%2e%2e%2foutside.txt /link.txt /assets/..%5c..%5coutside.txt".split(" "),
    ..."/model/training-log.jsonl /assets/ /model/ /constructor /__proto__".split(" "),
  ]) {
    expect((await ask(made.port, path, { headers })).status, path).toBe(404)
  }
})

// Building the pages takes seconds: only where a browser can look at them.
const built = CHROMIUM ? await builtPages() : undefined
afterAll(() => built?.close())
const { url } = await serving({ pages: built?.folder ?? "/nowhere", models: [] })
describe.skipIf(!CHROMIUM)("in Chromium", () => {
  test("the playground trains under its policy, and reaches no API with the session's cookie", async () => {
    const browser = await launch()
    const page: Page = await browser.newPage()
    const broken: string[] = []
    page.on("pageerror", ({ message }) => broken.push(message))
    await page.goto(new URL(`/play/${linkTo({ batchSize: 2 })}`, url).href)
    await page.locator("[role=status][data-phase=ready]").waitFor({ timeout: 60_000 })
    await page.getByRole("button", { name: "Step", exact: true }).click()
    await page.locator("[role=status][data-step='1']").waitFor({ timeout: 60_000 })
    expect(await page.evaluate("crossOriginIsolated")).toBe(true)
    const reached = await page.evaluate(
      `fetch("/api/session", { method: "POST", headers: { "content-type": "application/json" }, body: "{}" }).then(() => "reached", () => "refused")`,
    )
    expect(reached).toBe("refused")
    expect(broken).toEqual([])
    await browser.close()
  }, 120_000)
})
