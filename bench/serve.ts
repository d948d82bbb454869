/**
 * `npm run bench -- serve [--runs 200] [--long 10] [--steps 50000] [--tabs 0]`: how soon the page of
 * many runs is there, before and after its index; how soon a long run's curves are drawn, zoomed, and
 * show a step that is written; what the server holds; and with `--tabs` how that many tabs share a
 * stream. Needs `npm run build` and a Chromium.
 */
import {
  appendFileSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import type { Browser, Page } from "playwright-core"
import { launch } from "../test/web/chromium.ts"
import { eachOnce, openStreams, openTabs, tell } from "../test/web/tabs.ts"
import { type Served, withServer } from "./setup/served.ts"

const time = (step: number) => new Date(1_800_000_000_000 + 1000 * step).toISOString()

function stepLine(step: number): string {
  const noise = Math.abs(Math.sin(step * 12.9898)) % 1
  const nll = 0.2 + 2 / Math.sqrt(step) + 0.1 * noise
  return JSON.stringify({
    ...{
      type: "step",
      step,
      loss: 0.5 * nll,
      nll,
      mean_p: Math.exp(-nll),
      mean_weight: 0.51234567,
    },
    ...{
      effective_tokens: 812.12345 + noise,
      entropy: 1.23456 * noise,
      token_accuracy: 0.75 + 0.1 * noise,
    },
    ...{
      eos_p: 0.98765,
      special_p: null,
      grad_norm: 0.51 + noise,
      learning_rate: 5e-5 / (1 + step),
    },
    ...{ epoch: step / 1000, tokens: 4096 * step, supervised_tokens: 2048 * step },
    ...{ tokens_per_second: 1234.5 + noise, memory_bytes: 2 ** 31 + step, time: time(step) },
  })
}

const histogram = (step: number) =>
  JSON.stringify({
    ...{ type: "histogram", step, name: "train", time: time(step) },
    ...{ bins: Array.from({ length: 10 }, (_, i) => 10 * i + (step % 7)), small_bins: [1, 2, 3] },
  })

function writeRun(dir: string, name: string, steps: number): number {
  const run = join(dir, name)
  mkdirSync(run)
  const config = { model: "org/base", objective: "dft", data: { train: [{ path: "rows.jsonl" }] } }
  const record = openSync(join(run, "config.json"), "w")
  writeSync(record, JSON.stringify({ config, versions: {} }))
  closeSync(record)
  const file = openSync(join(run, "events.jsonl"), "w")
  const start = {
    ...{ type: "run.start", step: 0, time: time(0), run_id: name, engine: "onnx", device: "cpu" },
    ...{ parameters: { total: 1, trained: 1 }, supervised_tokens_per_epoch: 1 },
    ...{ normalization: "tokens", steps, objective: "dft" },
  }
  let bytes = writeSync(file, `${JSON.stringify(start)}\n`)
  for (let from = 1; from <= steps; from += 1000) {
    const count = Math.min(1000, steps - from + 1)
    const lines = Array.from(
      { length: count },
      (_, i) => `${stepLine(from + i)}\n${histogram(from + i)}\n`,
    )
    bytes += writeSync(file, lines.join(""))
  }
  bytes += writeSync(
    file,
    `${JSON.stringify({ type: "run.end", step: steps, time: time(steps), reason: "done" })}\n`,
  )
  closeSync(file)
  return bytes
}

/** Of a process: what it holds and held at most, MB; processor time, s. */
function processNumbers(pid: number) {
  const status = readFileSync(`/proc/${pid}/status`, "utf8")
  const megabytes = (key: string) => Number(new RegExp(`${key}:\\s+(\\d+)`).exec(status)![1]) / 1024
  const ticks = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ")
  return {
    rss: megabytes("VmRSS"),
    peak: megabytes("VmHWM"),
    cpu: (Number(ticks[11]) + Number(ticks[12])) / 100,
  }
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const began = performance.now()
  await work()
  return (performance.now() - began) / 1000
}

/** When the browser has first painted something, s after the address was asked for. */
const firstPaint = (page: Page) =>
  page.evaluate(
    `performance.getEntriesByName("first-contentful-paint")[0].startTime / 1000`,
  ) as Promise<number>

async function list({ url, origin, token, pid }: Served, runs: number, browser: Browser) {
  const before = processNumbers(pid)
  const headers = { Authorization: `Bearer ${token}` }
  const listed = await seconds(async () =>
    (await fetch(`${origin}/api/runs`, { headers })).arrayBuffer(),
  )
  const cpu = processNumbers(pid).cpu - before.cpu
  const page = await browser.newPage()
  const rows = await seconds(async () => {
    await page.goto(url)
    const last = page.locator("tbody tr").nth(runs - 1)
    await last.waitFor()
  })
  const paint = await firstPaint(page)
  await page.close()
  return { ...processNumbers(pid), listed, cpu, paint, rows }
}

/** The curves of a long run: drawn, zoomed into, and with a step more. */
async function longRun({ url, pid }: Served, run: string, steps: number, page: Page) {
  await page.goto(url)
  await page.locator("tbody tr").first().waitFor()
  const chart = page.getByRole("img", { name: /^NLL, nats a token/ })
  const drawn = await seconds(async () => {
    await page.evaluate(`location.hash = "/run/${run.split("/").at(-1)}"`)
    await chart.waitFor()
  })
  const box = (await chart.locator(".u-over").boundingBox())!
  const to = page.getByLabel("to", { exact: true })
  await page.mouse.move(box.x + 0.5 * box.width, box.y + 20)
  await page.mouse.down()
  await page.mouse.move(box.x + 0.6 * box.width, box.y + 20, { steps: 3 })
  const zoomed = await seconds(async () => {
    await page.mouse.up()
    while ((await to.inputValue()) === String(steps)) await page.waitForTimeout(5)
    await page.evaluate(
      "new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))",
    )
  })
  await page.getByRole("button", { name: "Show all" }).click()
  const line = { ...JSON.parse(stepLine(steps + 1)), nll: 7.125 }
  const shown = await seconds(async () => {
    appendFileSync(join(run, "events.jsonl"), `${JSON.stringify(line)}\n`)
    await page.getByRole("img", { name: /^NLL, nats a token: training 7\.125/ }).waitFor()
  })
  return { drawn, zoomed, shown, ...processNumbers(pid) }
}

/** Every tab gets each event once, also when the one with the stream closes in between. */
async function manyTabs({ url, origin }: Served, run: string, count: number, browser: Browser) {
  const context = await browser.newContext()
  const first = await context.newPage()
  await first.goto(url)
  await first.locator("tbody tr").first().waitFor()
  const address = `${origin}/#/run/${run.split("/").at(-1)}/log`
  const { pages, leaders } = await openTabs(context, address, count - 1)
  await tell(run, 1, 20)
  await eachOnce(pages, 20)
  const open = await openStreams(first)
  const telling = tell(run, 21, 60)
  await first.close()
  await telling
  await eachOnce(pages, 60)
  const after = await openStreams(pages[0]!)
  console.log(
    `${count} tabs: ${open} stream open; the tab with it closed: ${after} open, asked for by ${new Set(leaders).size} tab; each event once in each tab`,
  )
  await context.close()
}

const fixed = (numbers: Readonly<Record<string, number>>, unit: string) =>
  Object.entries(numbers)
    .map(([name, value]) => `${name} ${value.toFixed(2)} ${unit}`)
    .join(", ")

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      runs: { type: "string", default: "200" },
      long: { type: "string", default: "10" },
      steps: { type: "string", default: "50000" },
      tabs: { type: "string", default: "0" },
    },
  })
  const [runs, long, steps, tabs] = [values.runs, values.long, values.steps, values.tabs].map(
    Number,
  ) as [number, number, number, number]
  const dir = mkdtempSync(join(tmpdir(), "dftune-bench-serve-"))
  try {
    let bytes = 0
    for (let i = 0; i < runs; i++) bytes += writeRun(dir, `run-${i}`, i < long ? steps : 50)
    const browser = await launch()
    console.log(`${runs} runs, ${long} of ${steps} steps, ${(bytes / 1e6).toFixed(0)} MB of events`)
    for (const name of ["not indexed", "indexed", "indexed"]) {
      const { listed, cpu, paint, rows, rss, peak } = await withServer([dir], (server) =>
        list(server, runs, browser),
      )
      const rate = (time: number) => `${(bytes / 1e6 / time).toFixed(0)} MB/s`
      const speed = name === "indexed" ? "" : `, ${rate(listed)}, ${rate(cpu)} of processor time`
      const times = fixed({ "/api/runs": listed, "first paint": paint, "all rows": rows }, "s")
      console.log(
        `${name}: ${times}${speed}; server ${rss.toFixed(0)} MB, at most ${peak.toFixed(0)}`,
      )
    }
    await withServer([dir], async (server) => {
      const page = await browser.newPage()
      const { drawn, zoomed, shown, peak } = await longRun(server, join(dir, "run-0"), steps, page)
      await page.close()
      console.log(
        `a run of ${steps} steps: ${fixed({ drawn, zoomed, "a step more": shown }, "s")}; server at most ${peak.toFixed(0)} MB`,
      )
      if (tabs > 0) await manyTabs(server, join(dir, `run-${runs - 1}`), tabs, browser)
    })
    await browser.close()
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}
