import { execFileSync } from "node:child_process"
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { expect, test } from "vitest"
import { stringify } from "yaml"
import { analyse } from "../../src/study/analysis.ts"
import { loadStudy } from "../../src/study/load-study.ts"
import { questionsOf } from "../../src/study/questions.ts"
import { runStudy } from "../../src/study/run-study.ts"
import { readStudyEvents, type StudyEvent } from "../../src/study/study-events.ts"
import { writeStudyJobs } from "../../src/study/study-slurm.ts"
import { studyTime } from "../../src/study/study-time.ts"

const MODEL = fileURLToPath(new URL("../../demo/model", import.meta.url))
const signal = new AbortController().signal

const row = (a: number, b: number) => ({ prompt: `${a}+${b}=`, completion: String(a + b) })
const problem = (a: number, b: number) => ({ problem: `${a}+${b}`, answer: String(a + b) })

async function studyOf(change: Record<string, unknown> = {}) {
  const folder = mkdtempSync(join(tmpdir(), "dftune-study-"))
  const file = (name: string, rows: readonly unknown[]) => {
    const path = join(folder, name)
    writeFileSync(path, rows.map((one) => `${JSON.stringify(one)}\n`).join(""))
    return path
  }
  const train = file("train.jsonl", [row(1, 2), row(3, 4), row(5, 6), row(7, 8)])
  const study = {
    config: {
      model: MODEL,
      data: { train, max_length: 32 },
      batch_size: 2,
      max_steps: 1,
      save_steps: 0,
      engine: { name: "onnx", device: "cpu", threads: 1 },
    },
    axes: { objective: ["sft", "dft"], seed: [1] },
    evaluations: [
      {
        name: "sums",
        suite: file("sums.jsonl", [problem(1, 1)]),
        max_new_tokens: 4,
        decodings: ["greedy"],
      },
    ],
    contrasts: [{ a: "dft", b: "base", on: "sums" }],
    output_dir: join(folder, "out"),
    ...change,
  }
  const path = join(folder, "study.yaml")
  writeFileSync(path, stringify(study))
  return { folder, train, study: await loadStudy(path) }
}

test("of an axis over models each has a base of its own, which contrasts find", async () => {
  const models = [
    { as: "one", set: { model: MODEL } },
    { as: "two", set: { model: join(MODEL, "..", "model") } },
    { as: "three", set: { model: `${MODEL}/` } },
  ]
  const contrasts = [{ a: "sft three", b: "base", on: "sums" }]
  const { study } = await studyOf({
    axes: { objective: ["sft"], model: models, seed: [1] },
    contrasts,
  })
  const bases = study.design.cells.filter(({ stage }) => stage === "base")
  // two names of one folder are one model
  expect(bases.map(({ arm }) => arm)).toEqual(["base one", "base three"])
  expect(study.design.contrasts.map(({ a, b, name }) => [a, b, name])).toEqual([
    ["sft three", "base three", "sft three − base three, sums, greedy"],
  ])
})

test("a suite whose answers are compared as texts is found beside the study", async () => {
  const suites = ["exact:sums.jsonl", "choices:sums.jsonl", "sums.jsonl", "gsm8k"]
  const evaluations = suites.map((suite, i) => ({ name: `e${i}`, suite, decodings: ["greedy"] }))
  const { folder, study } = await studyOf({ evaluations, contrasts: [] })
  // the file is there since the function wrote the default evaluation's
  expect(study.fields.evaluations.map(({ suite }) => suite)).toEqual([
    `exact:${join(folder, "sums.jsonl")}`,
    `choices:${join(folder, "sums.jsonl")}`,
    join(folder, "sums.jsonl"),
    "gsm8k",
  ])
})

test("more runs to choose by leave what a run was asked as it is", async () => {
  const asked = async (seeds: readonly number[]) => {
    const choose = { axes: "learning_rate", suite: "gsm8k", seeds }
    const axes = { learning_rate: [1e-4, 2e-4], objective: ["sft", "dft"], seed: [1] }
    return questionsOf((await studyOf({ axes, choose })).study, { stage: "choose" })
  }
  expect(await asked([8, 9])).toEqual(await asked([8]))
})

test("a part of a study runs by itself, and what failed is tried again when that is asked", async () => {
  const { study, train } = await studyOf()
  const good = readFileSync(train, "utf8")
  writeFileSync(train, "not a row\n")
  await runStudy(study, { signal, cells: ["dft-1"] })
  const failed = analyse(await readStudyEvents(study.folder))
  expect(failed.failures.map(({ cell }) => cell)).toEqual(["dft-1"])
  expect(failed.failures[0]!.message).toContain(`${train}:1`)
  expect(failed.scores).toEqual([])

  writeFileSync(train, good)
  await runStudy(study, { signal, cells: ["dft-1"] })
  expect(analyse(await readStudyEvents(study.folder)).failures).toHaveLength(1)
  await runStudy(study, { signal, cells: ["dft-1", "base"], retry: true })
  const mended = analyse(await readStudyEvents(study.folder))
  expect(mended.failures).toEqual([])
  expect(mended.scores.map(({ arm }) => arm).sort()).toEqual(["base", "dft"])
  await expect(runStudy(study, { signal, cells: ["sft-2"] })).rejects.toThrow(
    "--cells sft-2: no run of the study; runs are base, sft-1, dft-1",
  )
})

const bare = (events: readonly StudyEvent[]) =>
  events.map(({ time: _, ...event }) => ({ ...event, ...("seconds" in event && { seconds: 0 }) }))

test("a run that is stopped between any two of its events, or in one, ends with the same", async () => {
  const { study } = await studyOf({
    losses: [{ name: "held out", data: fileOfOne(row(2, 9)) }],
    evaluations: [
      { name: "sums", suite: fileOfOne(), max_new_tokens: 4, decodings: [1, "greedy"] },
    ],
  })
  for (const cell of ["base", "dft-1"]) {
    await runStudy(study, { signal, cells: [cell] })
    const whole = await readStudyEvents(study.folder)
    const file = join(study.folder, "events", `${cell}.jsonl`)
    const lines = readFileSync(file, "utf8").trimEnd().split("\n")
    expect(lines).toHaveLength(5)
    for (const [i, next] of lines.entries()) {
      const before = lines.slice(0, i).map((line) => `${line}\n`)
      writeFileSync(file, `${before.join("")}${next.slice(0, next.length >> 1)}`)
      expect(await readStudyEvents(study.folder)).toHaveLength(whole.length - 5 + i)
      // before the first event there is nothing
      if (i === 0) rmSync(join(study.folder, "cells", cell), { recursive: true })
      await runStudy(study, { signal, cells: [cell] })
      expect(bare(await readStudyEvents(study.folder))).toEqual(bare(whole))
    }
  }
}, 120_000)

test("a run waits for all that its value is chosen by, and says what the choice was", async () => {
  const { study } = await studyOf({
    axes: { objective: ["dft"], learning_rate: [1e-4, 2e-4], seed: [1] },
    choose: { axes: "learning_rate", suite: fileOfOne(), max_new_tokens: 4 },
    contrasts: [],
  })
  const [first, second] = study.design.cells.flatMap(({ id, stage }) =>
    stage === "choose" ? [id] : [],
  )
  const told: string[] = []
  const run = (...cells: string[]) =>
    runStudy(study, { signal, cells, onCell: (text) => told.push(text) })
  await run(first!, "dft-1")
  expect(told.at(-1)).toBe(`dft-1: left out, its value is chosen by ${second}, not run yet`)
  await run(second!, "dft-1")
  expect(analyse(await readStudyEvents(study.folder)).choices[0]).toMatchObject({
    chosen: "learning_rate 0.0001",
  })
  // a run to choose by that had failed, and is better now that it was tried again
  const file = join(study.folder, "events", `${second}.jsonl`)
  const scored = readFileSync(file, "utf8").replaceAll(/"outcomes":\{[^}]*\}/g, (text) =>
    text.replaceAll('"0"', '"1"'),
  )
  writeFileSync(file, scored)
  await expect(run("dft-1")).rejects.toThrow(
    /was made with learning_rate 0.0001, the best .* now the best is learning_rate 0.0002/,
  )
})

test("Slurm's jobs: the runs to choose by first, then the others, then the report", async () => {
  const rates = { learning_rate: [1e-4, 2e-4] }
  const { study, folder } = await studyOf({
    axes: { objective: ["sft", "dft"], ...rates, seed: [1, 2] },
    choose: { axes: "learning_rate", suite: fileOfOne() },
    slurm: { sbatch: { partition: "a b", time: "02:00:00" }, at_once: 3 },
  })
  const submit = await writeStudyJobs(study, ["echo"])
  const bin = mkdtempSync(join(tmpdir(), "dftune-sbatch-"))
  writeFileSync(
    join(bin, "sbatch"),
    '#!/bin/bash\necho "$@" >> "$CALLS"\necho "$(wc -l < "$CALLS");cluster"\n',
  )
  chmodSync(join(bin, "sbatch"), 0o755)
  const calls = join(folder, "calls")
  writeFileSync(calls, "")
  const env = { ...process.env, PATH: `${bin}:${process.env.PATH}`, CALLS: calls }
  execFileSync("bash", [submit], { env })
  const jobs = join(study.folder, "slurm")
  expect(readFileSync(calls, "utf8").trim().split("\n")).toEqual([
    `--parsable --array=0-3%3 ${join(jobs, "choose.sbatch")}`,
    `--parsable --dependency=afterany:1 --array=0-4%3 ${join(jobs, "runs.sbatch")}`,
    `--dependency=afterany:2 ${join(jobs, "report.sbatch")}`,
  ])
  const task = (name: string, id: string) =>
    execFileSync("bash", [join(jobs, `${name}.sbatch`)], {
      env: { ...env, SLURM_ARRAY_TASK_ID: id },
      encoding: "utf8",
    }).trim()
  expect(task("choose", "3")).toBe(`study ${study.path} --cells choose-dft-learning-rate-0.0002-3`)
  expect(task("runs", "0")).toBe(`study ${study.path} --cells base`)
  expect(task("report", "")).toBe(`study ${study.path} --report`)
  expect(readFileSync(join(jobs, "runs.sbatch"), "utf8")).toContain('#SBATCH --partition="a b"')
  const wrong = await studyOf({ slurm: { sbatch: { "no option": 1 } } })
  await expect(writeStudyJobs(wrong.study, ["echo"])).rejects.toThrow("slurm.sbatch.no option")
})

function fileOfOne(one: unknown = problem(2, 9)): string {
  const path = join(mkdtempSync(join(tmpdir(), "dftune-study-")), "own.jsonl")
  writeFileSync(path, `${JSON.stringify(one)}\n`)
  return path
}

test("the time that a study will take is measured on its own runs and questions", async () => {
  const { study } = await studyOf()
  const { training, asking, total } = await studyTime(study, { signal })
  expect(Object.keys(training)).toEqual(["sft", "dft"])
  expect(Math.min(...Object.values(training), asking)).toBeGreaterThan(0)
  expect(total).toBeCloseTo(training.sft! + training.dft! + asking, 6)
})

test("a study's folder that leads elsewhere is not written through", async () => {
  const { study } = await studyOf({})
  const outside = mkdtempSync(join(tmpdir(), "dftune-outside-"))
  mkdirSync(study.folder, { recursive: true })
  for (const name of ["slurm", "events", "cells"]) symlinkSync(outside, join(study.folder, name))
  await expect(writeStudyJobs(study, ["echo"])).rejects.toThrow(/slurm: is a link to/)
  const options = { signal: new AbortController().signal }
  await expect(runStudy(study, options)).rejects.toThrow(/events: is a link to/)
  rmSync(join(study.folder, "events"))
  await expect(runStudy(study, options)).rejects.toThrow(/cells: is a link to/)
  expect(readdirSync(outside)).toEqual([])
})
