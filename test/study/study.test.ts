import { spawnSync } from "node:child_process"
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { hostname, tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { isDeepStrictEqual } from "node:util"
import { expect, test } from "vitest"
import { stringify } from "yaml"
import { writeDemoData } from "../../src/demo/data.ts"
import { analyse, type StudyResult } from "../../src/study/analysis.ts"
import { loadStudy } from "../../src/study/load-study.ts"
import { runStudy } from "../../src/study/run-study.ts"
import { study as runWhole } from "../../src/study/study.ts"
import { readStudyEvents, type ScoreEvent, type StudyEvent } from "../../src/study/study-events.ts"
import { studyHtml, studyMarkdown } from "../../src/study/study-report.ts"

const MODEL = fileURLToPath(new URL("../../demo/model", import.meta.url))
const signal = new AbortController().signal

async function writeStudy(change: Record<string, unknown> = {}) {
  const folder = mkdtempSync(join(tmpdir(), "dftune-study-"))
  const [noisy] = await writeDemoData(folder, { trainRows: 64, newFacts: 6, questions: 16 })
  const problems = (set: number, from: number) => {
    const rows = noisy!.sets[set]!.questions.slice(from, from + 8)
    const path = join(folder, `problems-${set}-${from}.jsonl`)
    const lines = rows.map(({ prompt, answer }) => JSON.stringify({ problem: prompt, answer }))
    writeFileSync(path, `${lines.join("\n")}\n`)
    return path
  }
  const study = {
    config: {
      model: MODEL,
      data: { train: noisy!.train, format: "messages", max_length: 192 },
      batch_size: 16,
      max_steps: 2,
      save_steps: 0,
      engine: { name: "onnx", device: "cpu", threads: 1 },
    },
    axes: { objective: ["sft", "dft"], learning_rate: [1e-4, 5e-4], seed: [1, 2] },
    base: { temperatures: [0.5] },
    choose: { axes: "learning_rate", suite: problems(0, 8), max_new_tokens: 64 },
    evaluations: [{ name: "as trained", suite: problems(0, 0), n: 2, max_new_tokens: 64 }],
    losses: [{ name: "held out", data: noisy!.eval, max_rows: 8 }],
    contrasts: [
      { a: "dft", b: "sft", on: ["as trained", "held out"] },
      { a: "dft", b: "base", on: "as trained", at: 1, b_at: 0.5 },
    ],
    output_dir: join(folder, "out"),
    ...change,
  }
  const path = join(folder, "study.yaml")
  writeFileSync(path, stringify(study))
  return { path, study }
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length

/** Every figure of the tables once more, as plainly as it can be said. */
function expectFigures(result: StudyResult, events: readonly StudyEvent[]): void {
  const answers = (wanted: Partial<ScoreEvent>) =>
    events
      .filter((event): event is ScoreEvent => event.type === "score")
      .filter((event) => Object.entries(wanted).every(([key, is]) => event[key as "arm"] === is))
      .flatMap(({ outcomes }) => Object.values(outcomes).join("").split("").map(Number))
  for (const { arm, decoding, score } of result.scores)
    expect(score).toBeCloseTo(mean(answers({ arm, decoding, evaluation: "as trained" })), 12)
  const nll = (arm: string) =>
    mean(
      events.flatMap((event) => {
        if (event.type !== "loss" || event.arm !== arm) return []
        const rows = Object.values(event.rows)
        const sum = (at: 0 | 1) => rows.reduce((all, row) => all + row[at], 0)
        return [sum(0) / sum(1)]
      }),
    )
  expect(result.losses.map(({ arm }) => arm)).toEqual(["base", "dft", "sft"])
  for (const { arm, nll: said } of result.losses) expect(said).toBeCloseTo(nll(arm), 12)
  expect(nll("sft")).not.toBe(nll("base"))
  for (const { contrast, difference, ci95, p, adjusted } of result.contrasts) {
    const { a, b, at, bAt } = contrast
    const side = (arm: string, decoding: typeof at) =>
      decoding === null ? nll(arm) : mean(answers({ arm, decoding, evaluation: "as trained" }))
    expect(difference).toBeCloseTo(side(a, at) - side(b, bAt), 10)
    expect(ci95[0]).toBeLessThanOrEqual(difference)
    expect(ci95[1]).toBeGreaterThanOrEqual(difference)
    expect(adjusted).toBeGreaterThanOrEqual(p)
  }
  for (const { chosen, candidates } of result.choices) {
    const best = Math.max(...candidates.map(({ score }) => score))
    expect(candidates.find(({ score }) => score === best)!.value).toBe(chosen)
  }
}

test("a study runs to its report, and a second call runs nothing again", async () => {
  const { path } = await writeStudy()
  const study = await loadStudy(path)
  // base; two arms at two rates on one seed of their own; two arms on two seeds
  expect(study.design.cells.length).toBe(1 + 4 + 4)
  const result = (await runWhole(path))!
  const events = await readStudyEvents(study.folder)
  expect(result.failures).toEqual([])
  expectFigures(result, events)
  expect(readFileSync(join(study.folder, "report.md"), "utf8")).toBe(studyMarkdown(result))
  expect(readFileSync(join(study.folder, "report.html"), "utf8")).toBe(studyHtml(result))
  expect(
    result.choices.map(({ arm, chosen, candidates }) => [arm, chosen !== null, candidates.length]),
  ).toEqual([
    ["dft", true, 2],
    ["sft", true, 2],
  ])
  const sampled = result.scores.filter(({ n }) => n === 2)
  expect(sampled.map(({ passAtK }) => passAtK.map(({ k }) => k))).toEqual(sampled.map(() => [2]))
  expect(
    result.contrasts.map(({ contrast, problems, seeds }) => [contrast.at, problems, seeds]),
  ).toEqual([
    [1, 8, 2],
    ["greedy", 8, 2],
    [null, 8, 2],
    [1, 8, 2],
  ])
  expect(result.contrasts.every(({ adjusted }) => adjusted !== null)).toBe(true)
  for (const text of [studyMarkdown(result), studyHtml(result)]) {
    expect(text).toContain("dft − base, as trained, T = 1 (base at T = 0.5)")
    expect(text).toContain("held out")
  }
  // as a process leaves it that is killed behind its last event
  const cell = study.design.cells.find(({ seed }) => seed !== null)!
  const folder = join(study.folder, "cells", cell.id)
  const gone = spawnSync(process.execPath, ["-e", ""]).pid
  writeFileSync(join(folder, "run.lock"), JSON.stringify({ pid: gone, host: hostname() }))
  await runStudy(study, { signal })
  expect(await readStudyEvents(study.folder)).toEqual(events)
  expect(existsSync(join(folder, "run.lock"))).toBe(false)
  // from one file of events, the same report
  const file = join(study.folder, "all.jsonl")
  writeFileSync(file, events.map((event) => `${JSON.stringify(event)}\n`).join(""))
  expect(analyse(await readStudyEvents(file))).toEqual(result)
}, 600_000)

test("what is asked later is asked of the models that are there, and nothing is run again", async () => {
  const axes = { objective: ["sft"], seed: [1] }
  const base = { temperatures: [] as number[] }
  const asked = (suite: string) => ({ suite, max_new_tokens: 32, decodings: ["greedy"] })
  const { path, study } = await writeStudy()
  const first = { name: "first", ...asked(study.evaluations[0]!.suite) }
  const second = { name: "second", ...asked(study.choose!.suite) }
  const [losses] = study.losses
  const now = async (change: object) => {
    const { choose: _, ...rest } = study
    const all = { ...rest, axes, base, contrasts: [], losses: [], evaluations: [first], ...change }
    writeFileSync(path, stringify(all))
    const loaded = await loadStudy(path)
    await runStudy(loaded, { signal })
    return readStudyEvents(loaded.folder)
  }
  const before = await now({})
  const after = await now({
    evaluations: [first, second],
    base: { temperatures: [0.5] },
    losses: [losses],
  })
  const added = after.filter((event) => !before.some((one) => isDeepStrictEqual(one, event)))
  expect(after.length).toBe(before.length + added.length)
  const called = (event: StudyEvent) => {
    if (event.type === "score") return `${event.cell} ${event.evaluation} ${event.decoding}`
    return event.type === "loss" ? `${event.cell} ${event.name}` : event.type
  }
  expect(added.map(called)).toEqual([
    ...["base first 0.5", "base second greedy", "base second 0.5", "base held out", "cell.end"],
    ...["sft-1 second greedy", "sft-1 held out", "cell.end"],
  ])
  // another question by a name that is taken, other settings, and a model that is gone
  const other = { ...second, suite: first.suite }
  await expect(now({ evaluations: [first, other] })).rejects.toThrow(
    /second was asked otherwise than .*study\.yaml has it now; give it another name there/,
  )
  const config = { ...study.config, max_steps: 3 }
  await expect(now({ config, base: false })).rejects.toThrow(/made with other settings than/)
  rmSync(join(study.output_dir, "cells", "sft-1", "run", "model"), { recursive: true })
  const third = { ...second, name: "third" }
  await expect(now({ evaluations: [first, third], base: false })).rejects.toThrow(
    /its model is gone \(keep_models: false\), so it cannot be asked third; to train it again/,
  )
}, 600_000)

test("a problem to choose by is no problem of a result", async () => {
  const { path, study } = await writeStudy()
  const same = { ...study, choose: { axes: "learning_rate", suite: study.evaluations[0]!.suite } }
  writeFileSync(path, stringify(same))
  await expect(runStudy(await loadStudy(path), { signal })).rejects.toThrow(/no result uses/)
})

test.each([
  [
    { contrasts: [{ a: "dft", b: "stf", on: "as trained" }] },
    /study\.yaml:\d+:\d+: contrasts\[0\]\.b: no arm "stf"/,
  ],
  [
    {
      axes: { objective: ["sft", "dft"], learning_rate: [1e-4], optimizer: ["adamww"] },
      contrasts: [],
    },
    /of the axes, optimizer="adamww"/,
  ],
  [{ evaluation: [] }, /unknown key "evaluation"; did you mean "?evaluations/],
])("what is wrong is named with its place: %o", async (change, message) => {
  const { path } = await writeStudy(change)
  expect(readFileSync(path, "utf8").length).toBeGreaterThan(0)
  await expect(loadStudy(path)).rejects.toThrow(message)
})

test("differences are paired by problem and seed; a later contrast is no part of the family", () => {
  const time = ""
  const score = (arm: string, seed: number, outcomes: Record<string, string>): ScoreEvent => {
    const of = { cell: `${arm}-${seed}`, arm, stage: "final", seed } as const
    return {
      type: "score",
      time,
      ...of,
      evaluation: "e",
      decoding: 1,
      outcomes,
      tokens: 3,
      ended: 1,
    }
  }
  const contrast = { name: "a − b", a: "a", b: "b", on: "e", at: 1, bAt: 1 } as const
  const unasked = { ...contrast, name: "a − b, the rest", on: "rest" } as const
  const named = {
    type: "study.contrasts",
    time,
    study: "s",
    about: "",
    limits: "",
    arms: ["a", "b"],
  } as const
  const events: StudyEvent[] = [
    { ...named, seeds: [1, 2], contrasts: [contrast], after_results: false },
    score("a", 1, { x: "11", y: "10" }),
    score("b", 1, { y: "00", x: "10", z: "11" }),
    score("a", 2, { x: "11", y: "00" }),
    { ...named, seeds: [1, 2], contrasts: [{ ...contrast, name: "later" }], after_results: true },
    { ...named, seeds: [1, 2], contrasts: [unasked], after_results: true },
  ]
  const [first, later] = analyse(events).contrasts
  expect(first).toMatchObject({ difference: 0.5, problems: 2, seeds: 1, seedsFixed: true })
  expect(later!.adjusted).toBe(null)
  expect(studyMarkdown(analyse(events))).toContain("| a − b, the rest | no results yet |")
  expect(studyMarkdown(analyse(events))).not.toContain("NaN")
})
