/** Events, folders and names of a study that somebody else made, or that were changed. */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { expect, test } from "vitest"
import { stringify } from "yaml"
import { analyse } from "../../src/study/analysis.ts"
import { isStudyEvent } from "../../src/study/event-fields.ts"
import { study } from "../../src/study/study.ts"
import { type StudyEvent, studyLog } from "../../src/study/study-events.ts"
import { studyHtml, studyMarkdown } from "../../src/study/study-report.ts"

const cell = { time: "t", cell: "a-1", arm: "a", stage: "final", seed: 1 }
const start = { ...cell, type: "cell.start", design: "d", settings: {} }
const score = {
  ...{ ...cell, type: "score", evaluation: "sums", decoding: "greedy" },
  ...{ outcomes: { p: "1", q: "0" }, tokens: 3, ended: 1 },
}
const loss = { ...cell, type: "loss", name: "rows", rows: { r: [1, 2] } }
const end = { ...cell, type: "cell.end", reason: "done", seconds: 36, candidate: null }
const comparison = { name: "a − b", a: "a", b: "b", on: "sums", at: "greedy", bAt: "greedy" }
const named = {
  ...{ type: "study.contrasts", time: "t", study: "s", about: "", limits: "" },
  ...{ contrasts: [comparison], after_results: false },
}

const analysed = (...events: object[]) => {
  for (const event of events) expect(isStudyEvent(event)).toBe(true)
  return analyse(events as unknown as StudyEvent[])
}

test.each([
  ["a choice that is no text", { ...start, chosen: 5 }],
  ["no problems", { ...score, outcomes: {} }],
  ["a problem without samples", { ...score, outcomes: { p: "" } }],
  ["more ended than there are", { ...score, ended: 2 }],
  ["a temperature that nothing samples at", { ...score, decoding: 1e300 }],
  ["half a seed", { ...score, seed: 1.5 }],
  ["no rows", { ...loss, rows: {} }],
  ["rows without tokens", { ...loss, rows: { r: [1, 0] } }],
  ["sums beyond numbers", { ...loss, rows: { r: [1e308, 1] } }],
  ["time that runs back", { ...end, seconds: -1 }],
])("is no event: %s", (_, event) => expect(isStudyEvent(event)).toBe(false))

test("what a study could not read again is not written", () => {
  const folder = mkdtempSync(join(tmpdir(), "dftune-study-"))
  mkdirSync(join(folder, "events"))
  const log = studyLog(folder, "a-1")
  const { time: _, ...diverged } = { ...loss, rows: { r: [Number.NaN, 2] } }
  expect(() => log.append(diverged as never)).toThrow("a model that diverged")
  log.close()
  expect(readFileSync(join(folder, "events", "a-1.jsonl"), "utf8")).toBe("")
})

test("events that stand there twice count once", () => {
  const b = { ...score, cell: "b-1", arm: "b" }
  const once = analysed(named, start, score, b, loss, end)
  const twice = analysed(named, start, score, b, loss, end, named, start, score, b, loss, end)
  expect({ ...twice, runs: [] }).toEqual({ ...once, runs: [] })
  expect(once.hours).toBeCloseTo(0.01)
  const changed = { ...score, outcomes: { p: "1", q: "1" } }
  expect(() => analysed(named, score, b, changed)).toThrow("a-1: has two different results of sums")
})

test("an evaluation of 150,000 problems has a report", () => {
  const many = Array.from({ length: 150_000 }, (_, i) => [`p${i}`, "1"])
  const [row] = analysed({ ...score, outcomes: Object.fromEntries(many) }).scores
  expect(row).toMatchObject({ score: 1, n: 1, problems: 150_000 })
})

const NAME =
  "<script>alert(1)</script><img src=x onerror=alert(2)> | \\| z\n\n# title\n| y |\u001b[2J"

test("names and messages are text in both reports, in one table", () => {
  const result = analysed(
    ...[{ ...named, study: NAME, about: NAME, contrasts: [{ ...comparison, name: NAME }] }, score],
    ...[
      { ...loss, name: NAME },
      { ...end, reason: "failed", message: NAME },
    ],
    ...[
      { ...start, arm: NAME, chosen: NAME },
      { ...end, cell: "c", candidate: NAME },
    ],
    { ...score, arm: NAME, cell: "c", stage: "choose", evaluation: "validation" },
  )
  expect(studyHtml(result)).not.toMatch(/<script|<img/i)
  const markdown = studyMarkdown(result)
  expect(markdown).not.toMatch(/<script|<img/i)
  expect(markdown).not.toContain("\u001b")
  expect(markdown.split("\n")[0]).toMatch(/^# &lt;script>.*# title \\\| y/)
  // as GitHub's tables are read: a backslash and what it escapes, or anything but a bar
  const cells = (line: string) => line.replaceAll(/\\./g, "").split("|").length
  const rows = markdown.split("\n").filter((line) => line.startsWith("|"))
  const tables = markdown.split("## ").slice(1)
  expect(tables).toHaveLength(5)
  for (const table of tables) {
    const own = table.split("\n").filter((line) => rows.includes(line))
    expect(new Set(own.map(cells)).size).toBe(1)
    expect(own.length).toBe(3)
  }
})

const MODEL = fileURLToPath(new URL("../../demo/model", import.meta.url))

function writeStudy(folder: string, change: Record<string, unknown>): string {
  const config = { model: MODEL, data: { train: "train.jsonl" }, max_steps: 1, save_steps: 0 }
  const path = join(folder, "study.yaml")
  const all = {
    config: { ...config, engine: { name: "onnx", device: "cpu", threads: 1 } },
    axes: { objective: [{ as: "A", set: { learning_rate: 1e-4 } }], seed: [1] },
    evaluations: [{ name: "sums", suite: "sums.jsonl", max_new_tokens: 4, decodings: ["greedy"] }],
    output_dir: join(folder, "out"),
  }
  writeFileSync(path, stringify({ ...all, ...change }))
  return path
}

test("results that no event tells of, and those of another study, are not taken for this one's", async () => {
  const folder = mkdtempSync(join(tmpdir(), "dftune-study-"))
  writeFileSync(join(folder, "train.jsonl"), '{"prompt":"1+2=","completion":"3"}\n')
  // problems called as what every object has
  const ids = ["constructor", "toString"]
  const problems = ids.map((id) => JSON.stringify({ id, problem: "1+1", answer: "2" }))
  writeFileSync(join(folder, "sums.jsonl"), `${problems.join("\n")}\n`)
  const { scores } = (await study(writeStudy(folder, {})))!
  expect(scores.map(({ problems: count }) => count)).toEqual([2, 2])
  const other = writeStudy(folder, { name: "other" })
  for (const reportOnly of [true, false])
    await expect(study(other, { reportOnly })).rejects.toThrow(/is of the study study/)
  const out = join(folder, "out")
  const kept = join(folder, "kept.jsonl")
  cpSync(join(out, "events", "a-1.jsonl"), kept)
  rmSync(join(out, "events", "a-1.jsonl"))
  const axes = { objective: [{ as: "A", set: { learning_rate: 1e-3 } }], seed: [1] }
  await expect(study(writeStudy(folder, { axes }))).rejects.toThrow(
    /a-1: holds results, and a-1.jsonl of events.* is not there/,
  )
  rmSync(join(out, "cells", "a-1"), { recursive: true })
  mkdirSync(join(out, "run.lock"))
  await expect(study(writeStudy(folder, {}))).rejects.toThrow(/run\.lock: a folder of that name/)
  await expect(study(out)).rejects.toThrow("expected the study's YAML file, got a folder")
})
