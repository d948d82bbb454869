import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { histogramChart, lineChart, niceTicks, paperBins } from "../../src/report/charts.ts"
import { comparison, comparisonTable } from "../../src/report/comparison.ts"
import { differingSettings } from "../../src/report/differing-settings.ts"
import { reportHtml } from "../../src/report/run-page.ts"
import {
  type RunSummary,
  runFigures,
  summarizeRun,
  summarizeRuns,
} from "../../src/report/run-summary.ts"
import { tokenWeights } from "../../src/report/sample-rows.ts"
import { embeddedJson, sourceHash } from "../../src/report/view-files.ts"
import type { RunEvent } from "../../src/run/events.ts"
import { openRunFolder, readRun } from "../../src/run/run-folder.ts"
import { madeUpRun } from "./made-up-run.ts"

const folder = mkdtempSync(join(tmpdir(), "dftune-report-"))
afterAll(() => rmSync(folder, { recursive: true }))

function written(name: string, objective: "sft" | "dft", more: object = {}): string {
  const path = join(folder, name)
  const config = { objective: { name: objective }, max_grad_norm: 1, output_dir: path, ...more }
  const run = openRunFolder(path, { record: { config, versions: {} } })
  for (const event of madeUpRun({ objective, steps: 40 })) run.append(event)
  run.close()
  return path
}

const paths = [written("a", "sft"), written("b", "dft", { learning_rate: 1e-4, batch: [1, 2] })]
const runs = summarizeRuns(paths.map(readRun))
const page = reportHtml(runs, { view: null })
const summary = (events: readonly RunEvent[], config: unknown = {}) =>
  summarizeRun({ path: "x", record: { config, versions: {} }, events, badLines: [] }, "x")

test("without the page's components it stands alone: no script, nothing fetched", () => {
  expect(page).not.toMatch(/<script|<link|<img|url\(|https?:|@import/)
  expect(page).toContain("default-src 'none'")
})

test("the page has figures, warnings, curves, histograms, samples and settings", () => {
  for (const part of ["Figures", "Warnings", "Curves", "before and after", "Samples"]) {
    expect(page).toContain(part)
  }
  expect(page).toContain("Settings that differ")
  expect(page).toContain("learning_rate")
  expect(page).toContain("0.44 [0.39, 0.49], n 400")
  expect(page.match(/<svg/g)!.length).toBeGreaterThan(10)
  expect(page).not.toMatch(/NaN|undefined|Infinity/)
})

test("the same runs give the same bytes", () => {
  const again = summarizeRuns(paths.map(readRun))
  expect(reportHtml(again, { view: null })).toBe(page)
  expect(reportHtml(again)).toBe(reportHtml(runs))
})

test("text of models and data is escaped wherever it appears", () => {
  const evil = `<script>alert("1")</script>'&`
  const events = madeUpRun({ objective: "dft", steps: 5 }).map((event): RunEvent => {
    if (event.type === "run.start") return { ...event, run_id: evil, objective: evil, device: evil }
    if (event.type === "warning") return { ...event, message: evil, hint: evil, code: evil }
    if (event.type === "eval" || event.type === "histogram") return { ...event, name: evil }
    if (event.type !== "sample") return event
    return { ...event, prompt: evil, completion: evil, tokens: event.tokens.map(() => evil) }
  })
  const hostile = { ...summary(events, { [evil]: evil }), name: evil }
  const both = [hostile, { ...hostile, config: { [`${evil}2`]: evil } }]
  const text = reportHtml(both, { view: null })
  expect(text).not.toContain("<script")
  expect(text).toContain("&lt;script&gt;")
  const scripted = reportHtml(both, { view: { script: "go()", style: "" } })
  expect(scripted.match(/<script[^>]*>/g)).toEqual([
    '<script type="application/json" id="data">',
    "<script>",
  ])
  expect(scripted).toContain(`script-src ${sourceHash("go()")};`)
  expect(JSON.parse(embeddedJson({ [evil]: evil }))).toEqual({ [evil]: evil })
})

test("runs that hold little make a page all the same", () => {
  const bare = summary([])
  expect(reportHtml([bare], { view: null })).toContain("Figures")
  const one = summary(madeUpRun({ objective: "sft", steps: 1 }).slice(0, 3))
  const text = reportHtml([one, bare], { view: null })
  expect(text).not.toMatch(/NaN|undefined/)
  expect(text).toContain("<circle")
})

test("figures are means over the last tenth of the steps", () => {
  const figures = runFigures(runs[1]!)
  const tail = runs[1]!.steps.slice(-4)
  expect(figures.nll).toBeCloseTo(tail.reduce((sum, { nll }) => sum + nll, 0) / 4, 12)
  expect(figures).toMatchObject({ run: "b", objective: "dft", state: "done", steps: 40 })
  expect(figures.clipped_share).toBe(0)
  expect(runFigures(runs[0]!).clipped_share).toBe(1)
  expect(figures.effective_share).toBeCloseTo(0.8, 1)
  expect(figures.evals.arithmetic).toMatchObject({ score: 0.52, n: 400 })
  expect(figures.seconds).toBe(82)
})

test("steps done again after a resume count once, by their last event", () => {
  const events = madeUpRun({ objective: "dft", steps: 10 })
  const steps = events.filter(({ type }) => type === "step")
  const again = steps.slice(6).map((event) => ({ ...event, nll: 7 }) as RunEvent)
  const resumed = summary([...events.slice(0, -1), ...again])
  expect(resumed.steps.map(({ step }) => step)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
  expect(resumed.steps.slice(6).every(({ nll }) => nll === 7)).toBe(true)
})

test("runs of one folder name are told apart by their parents", () => {
  const names = (list: string[]) =>
    summarizeRuns(list.map((path) => ({ path, record: undefined, events: [], badLines: [] }))).map(
      ({ name }) => name,
    )
  expect(names(["/x/one/run", "/x/two/run", "/y/other"])).toEqual(["one/run", "two/run", "other"])
})

test("settings that differ, by dotted key", () => {
  expect(differingSettings(runs)).toEqual([
    { key: "objective.name", values: ['"sft"', '"dft"'] },
    { key: "learning_rate", values: [undefined, "0.0001"] },
    { key: "batch", values: [undefined, "[1,2]"] },
  ])
})

test("the comparison as text and as JSON", () => {
  const table = comparisonTable(runs).split("\n")
  expect(table[0]).toMatch(/^run +objective +state +steps +loss/)
  expect(table[1]).toMatch(/^a +sft +done +40\/40/)
  expect(comparisonTable([runs[0]!])).not.toContain("setting")
  const json = JSON.parse(JSON.stringify(comparison(runs)))
  expect(json.runs[1].curves.nll).toHaveLength(40)
  expect(json.settings.learning_rate).toEqual([null, 0.0001])
})

test("long texts are shortened in the table, unless they differ where it would cut", () => {
  const path = (name: string) =>
    `/a/rather/long/path/to/the/folder/${name}/of/all/the/rows/train.jsonl`
  const withPath = (run: RunSummary, name: string, model: string): RunSummary => ({
    ...run,
    config: { ...run.config, model, data: { train: path(name) } },
  })
  const [a, b] = [withPath(runs[0]!, "x", path("x")), withPath(runs[1]!, "y", "small")]
  const rows = comparisonTable([a, b]).split("\n")
  // The runs stand below each other: side by side they are too wide.
  const own = (key: string) => rows.filter((row) => row.startsWith(key)).join(" ")
  expect(own("data.train")).toContain(path("y"))
  expect(own("model")).toMatch(/"\/a\/rather\S+…\S+jsonl" .*"small"/)
})

test("a sample's weights are those of the run's objective, where p alone decides", () => {
  const p = [0.25, 0.01]
  const config = (objective: object) => ({ config: { objective } })
  expect(tokenWeights(p, config({ name: "dft" }))![0]).toBeCloseTo(0.25, 14)
  expect(tokenWeights(p, config({ name: "dft", weight_floor: 0.1 }))![1]).toBe(0.1)
  expect(tokenWeights(p, config({ name: "sft" }))).toEqual([1, 1])
  expect(tokenWeights(p, config({ name: "eaft" }))).toBeUndefined()
  expect(tokenWeights(p, config({ name: "talr" }))).toBeUndefined()
  expect(tokenWeights(p, config({ name: "of-another-version" }))).toBeUndefined()
})

test("the paper's bins take the small ones out of the first", () => {
  const bins = [10, 0, 0, 0, 0, 1, 0, 0, 0, 5]
  expect(paperBins({ bins, small_bins: [1, 2, 3] })).toEqual([1, 2, 3, 4, ...bins.slice(1)])
  const chart = histogramChart("t", [{ name: "n", color: "red", counts: [50, 50] }])
  expect(chart.match(/50.00 % of tokens/g)).toHaveLength(2)
})

test("ticks are round and enclose the range", () => {
  expect(niceTicks(0.12, 0.87)).toEqual([0, 0.2, 0.4, 0.6, 0.8, 1])
  expect(niceTicks(-3, 7)).toEqual([-5, -2.5, 0, 2.5, 5, 7.5])
})

test("a curve leaves out what is not finite, and one without points is no chart", () => {
  const points = [1, 2, 3].map((x) => [x, x === 2 ? Number.NaN : x] as const)
  const chart = lineChart("t", [{ name: "n", color: "red", points }])
  expect(chart.match(/[ML]\d/g)).toHaveLength(2)
  expect(lineChart("t", [{ name: "n", color: "red", points: [[1, Number.NaN]] }])).toBe("")
  const zero = [{ name: "n", color: "red", points: [[1, 0] as const, [2, 1e-3] as const] }]
  expect(lineChart("t", zero, { log: true })).toContain("<circle")
})
