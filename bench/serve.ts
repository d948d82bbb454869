/**
 * `npm run bench -- serve [--runs 200] [--long 10] [--steps 50000]`: how soon the page of many runs
 * is there, before and after its index, and what the server holds. Needs `npm run build` and a Chromium.
 */
import {
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
import type { Browser } from "playwright-core"
import { launch } from "../test/web/chromium.ts"
import { withServer } from "./setup/served.ts"

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

interface Measured {
  readonly list: number
  readonly paint: number
  readonly memory: number
}

/** Seconds until /api/runs has answered and until the page shows all runs; the server's memory then, MB. */
async function measured(dir: string, runs: number, browser: Browser): Promise<Measured> {
  return withServer([dir], async ({ url, origin, token, pid }) => {
    const headers = { Authorization: `Bearer ${token}` }
    const began = performance.now()
    await (await fetch(`${origin}/api/runs`, { headers })).arrayBuffer()
    const list = (performance.now() - began) / 1000
    const page = await browser.newPage()
    const opened = performance.now()
    await page.goto(url)
    await page
      .locator("tbody tr")
      .nth(runs - 1)
      .waitFor()
    const paint = (performance.now() - opened) / 1000
    await page.close()
    const status = readFileSync(`/proc/${pid}/status`, "utf8")
    return { list, paint, memory: Number(/VmRSS:\s+(\d+)/.exec(status)![1]) / 1024 }
  })
}

export async function run(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      runs: { type: "string", default: "200" },
      long: { type: "string", default: "10" },
      steps: { type: "string", default: "50000" },
    },
  })
  const [runs, long, steps] = [values.runs, values.long, values.steps].map(Number) as [
    number,
    number,
    number,
  ]
  const dir = mkdtempSync(join(tmpdir(), "dftune-bench-serve-"))
  try {
    let bytes = 0
    for (let i = 0; i < runs; i++) bytes += writeRun(dir, `run-${i}`, i < long ? steps : 50)
    const browser = await launch()
    console.log(`${runs} runs, ${long} of ${steps} steps, ${(bytes / 1e6).toFixed(0)} MB of events`)
    for (const name of ["not indexed", "indexed", "indexed"]) {
      const { list, paint, memory } = await measured(dir, runs, browser)
      const speed = name === "indexed" ? "" : `, ${(bytes / 1e6 / list).toFixed(0)} MB/s`
      console.log(
        `${name}: /api/runs ${list.toFixed(2)} s${speed}; all rows in the page ${paint.toFixed(2)} s; server ${memory.toFixed(0)} MB`,
      )
    }
    await browser.close()
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}
