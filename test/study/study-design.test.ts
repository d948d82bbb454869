/** Names, axes, contrasts and questions of a study that are wrong, or only look so. */
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { expect, test } from "vitest"
import { stringify } from "yaml"
import { loadStudy } from "../../src/study/load-study.ts"
import { runStudy } from "../../src/study/run-study.ts"
import { studyPlan } from "../../src/study/study.ts"
import { readStudyEvents } from "../../src/study/study-events.ts"

const MODEL = fileURLToPath(new URL("../../demo/model", import.meta.url))
const SUMS = { name: "sums", suite: "sums.jsonl", max_new_tokens: 4, decodings: ["greedy"] }
const MANY = Array.from({ length: 10 }, (_, i) => `key${i}`)
const HELD_OUT = { name: "held out", data: "train.jsonl" }

function writeStudy(change: Record<string, unknown>): string {
  const folder = mkdtempSync(join(tmpdir(), "dftune-design-"))
  const file = (name: string, rows: readonly unknown[]) =>
    writeFileSync(join(folder, name), rows.map((one) => `${JSON.stringify(one)}\n`).join(""))
  file("train.jsonl", [{ prompt: "1+2=", completion: "3" }])
  file("sums.jsonl", [{ problem: "1+1", answer: "2" }])
  file("damaged.jsonl", [{ problem: "1+1", answer: "2" }, { problem: "2+2" }])
  file("empty.jsonl", [])
  const study = {
    config: { model: MODEL, data: { train: "train.jsonl" }, max_steps: 1 },
    axes: { objective: ["sft", "dft"], seed: [1] },
    evaluations: [SUMS],
    contrasts: [{ a: "dft", b: "sft", on: "sums" }],
    output_dir: join(folder, "out"),
    ...change,
  }
  const path = join(folder, "study.yaml")
  writeFileSync(path, stringify(study))
  return path
}

const designOf = async (change: Record<string, unknown>) =>
  (await loadStudy(writeStudy(change))).design

const armsOf = (...names: string[]) =>
  names.map((as, i) => ({ as, set: { objective: i === 0 ? "dft" : "sft" } }))

test.each([
  [{ contrasts: [{ a: "dft", b: "dft", on: "sums" }] }, "dft − dft, sums, greedy: compares it"],
  [
    {
      contrasts: [
        { a: "dft", b: "sft", on: "sums" },
        { a: "sft", b: "dft", on: "sums" },
      ],
    },
    "contrasts[1].on: sft − dft, sums, greedy: these two are compared already",
  ],
  [{ contrasts: [{ a: "dft", b: "sft", on: ["sums", "sums"] }] }, "compared already"],
  [{ contrasts: [{ a: "DFT", b: "sft", on: "sums" }] }, 'no arm "DFT"; arms are base, sft, dft'],
  [{ evaluations: [SUMS, SUMS] }, 'evaluations[1].name: another is called "sums" already'],
  [{ losses: [{ ...HELD_OUT, name: "sums" }] }, 'losses[0].name: another is called "sums" already'],
  [
    { evaluations: [{ ...SUMS, decodings: [1, "greedy", 1] }] },
    "evaluations[0].decodings: one of them is named twice",
  ],
  [
    { axes: { output_dir: ["a", "b"] }, contrasts: [] },
    "output_dir is set by the study; leave it out",
  ],
  [
    { axes: { arm: [{ as: "x", set: { seed: 7 } }] }, contrasts: [] },
    "axes.arm: seeds are an axis of their own",
  ],
  [
    {
      axes: { arm: [{ as: "x", set: { learning_rate: 1e-4 } }], learning_rate: [1e-3] },
      contrasts: [],
    },
    "axes.learning_rate: learning_rate is set by the axis arm too",
  ],
  [
    {
      axes: { objective: ["sft", "dft"], learning_rate: [1e-4, 1e-4] },
      choose: { axes: "learning_rate", suite: "validation.jsonl" },
    },
    'choose.axes: two values to choose from are called "learning_rate 0.0001"',
  ],
  [
    {
      axes: { objective: ["sft", "dft"], learning_rate: [1e-4, 1e-3] },
      choose: { axes: "learning_rate", suite: "validation.jsonl", seeds: [3, 3] },
    },
    "choose.seeds: expected different whole numbers",
  ],
  [{ axes: { objective: ["sft", "dft"], seed: [2 ** 32 - 1] } }, "expected at most 900,719,922"],
  [
    { axes: { "objective.weight_floor": [0.1, 0.2], objective: ["sft", "dft"] }, contrasts: [] },
    "axes.objective: objective would be set over objective.weight_floor",
  ],
  [
    // what is chosen is set last
    {
      axes: { objective: ["sft", "dft"], "objective.weight_floor": [0.1, 0.2] },
      choose: { axes: "objective", suite: "validation.jsonl" },
      contrasts: [],
    },
    "axes.objective: objective would be set over objective.weight_floor",
  ],
  [
    {
      axes: { arm: [{ as: "x", set: { "objective.weight_floor": 0.1, objective: "dft" } }] },
      contrasts: [],
    },
    "axes.arm: objective would be set over objective.weight_floor",
  ],
  [{ name: ".." }, 'name: expected a name that is more than dots, got ".."'],
  // on some disks their files would be one
  [{ evaluations: [SUMS, { ...SUMS, name: "Sums" }] }, 'another is called "Sums" already'],
  [
    { axes: { seed: [1], ...Object.fromEntries(MANY.map((key) => [key, MANY])) }, contrasts: [] },
    "axes: they make 10,000,000,000 runs; expected at most 10,000",
  ],
  [{ base: { temperatures: [1e9] } }, "expected a number of at most 100, got 1000000000"],
  [{ name: "a/b" }, 'name: expected letters, digits, spaces and . _ + -, got "a/b"'],
])("refused with its place: %j", async (change, message) => {
  const error = await loadStudy(writeStudy(change)).catch(({ message: text }: Error) => text)
  expect(error).toMatch(/study\.yaml:\d+:\d+: /)
  expect(error).toContain(message)
})

test.each([
  [{ evaluations: [{ ...SUMS, suite: "damaged.jsonl" }] }, /damaged\.jsonl:2: /],
  [{ evaluations: [{ ...SUMS, suite: "empty.jsonl" }] }, /empty\.jsonl: expected problems/],
  [{ evaluations: [{ ...SUMS, suite: "gms8k" }] }, /suite gms8k: .*did you mean "gsm8k"/],
  [{ evaluations: [{ ...SUMS, suite: "openai/gsm8kk" }] }, /did you mean "openai\/gsm8k"/],
  [{ evaluations: [{ ...SUMS, suite: "allenai/ai2_arc" }] }, /name arc_challenge or arc_easy/],
  [{ losses: [{ ...HELD_OUT, data: "gone.jsonl" }] }, /losses: held out: .*gone\.jsonl: no such/],
  [{ losses: [{ ...HELD_OUT, data: "empty.jsonl" }] }, /empty\.jsonl: holds no rows/],
])("what models are asked is read before the first is trained: %j", async (change, message) => {
  const study = await loadStudy(writeStudy(change))
  const { signal } = new AbortController()
  await expect(runStudy(study, { signal })).rejects.toThrow(message)
})

test("a validation problem that differs in letter case and white space is one of a result", async () => {
  const path = writeStudy({
    axes: { objective: ["sft", "dft"], learning_rate: [1e-4, 1e-3], seed: [1] },
    evaluations: [{ ...SUMS, suite: "words.jsonl" }],
    choose: { axes: "learning_rate", suite: "validation.jsonl" },
  })
  const rows = { words: "What is  1+1?", validation: "what is 1+1?" }
  for (const [name, problem] of Object.entries(rows))
    writeFileSync(
      join(path, "..", `${name}.jsonl`),
      `${JSON.stringify({ problem, answer: "2" })}\n`,
    )
  const { signal } = new AbortController()
  await expect(runStudy(await loadStudy(path), { signal })).rejects.toThrow(
    "choose: problem words.jsonl:1 is also in the evaluation sums",
  )
})

test("a comparison of the base with itself is late as soon as the base has been asked", async () => {
  const study = await loadStudy(
    writeStudy({
      base: { temperatures: [0.5] },
      contrasts: [
        { a: "dft", b: "sft", on: "sums" },
        { a: "base", b: "base", on: "sums", at: "greedy", b_at: 0.5 },
      ],
    }),
  )
  const cell = { time: "t", cell: "base", arm: "base", stage: "base", seed: null }
  const answers = { outcomes: { p: "1" }, tokens: 1, ended: 1 }
  const score = { ...cell, type: "score", evaluation: "sums", decoding: "greedy", ...answers }
  mkdirSync(join(study.folder, "events"), { recursive: true })
  writeFileSync(join(study.folder, "events", "base.jsonl"), `${JSON.stringify(score)}\n`)
  const { signal } = new AbortController()
  await runStudy(study, { signal, cells: [] })
  const named = (await readStudyEvents(study.folder)).flatMap((event) =>
    event.type === "study.contrasts" ? [event] : [],
  )
  expect(named.map(({ contrasts, after_results }) => [contrasts[0]!.a, after_results])).toEqual([
    ["dft", false],
    ["base", true],
  ])
})

test("a config is told as one", async () => {
  await expect(loadStudy(writeStudy({ model: "m" }))).rejects.toThrow(
    /: is a config, not a study; a study names it, config: \S+ \(docs\/studies\.md\)$/,
  )
})

test("arms are named in contrasts as they are, whatever characters they have", async () => {
  const { contrasts } = await designOf({
    axes: { objective: ["sft", { name: "power", a: 0.5 }], seed: [1] },
    contrasts: [{ a: "power a=0.5", b: "sft", on: "sums" }],
  })
  expect(contrasts[0]!.a).toBe("power a=0.5")
  const arms = ["DFT, floor/0.1", "SFT: (plain)"]
  const named = await designOf({
    axes: { arm: armsOf(...arms), seed: [1] },
    contrasts: [{ a: arms[0], b: arms[1], on: "sums" }],
  })
  expect(named.contrasts.map(({ a, b }) => [a, b])).toEqual([arms])
  expect(named.cells.map(({ id }) => id)).toEqual(["base", "dft-floor-0.1-1", "sft-plain-1"])
})

test.each([
  ["names that become one", "DFT a", "dft-a"],
  ["other scripts", "甲", "乙"],
  ["long ones", "x".repeat(300), `${"x".repeat(299)}y`],
  ["points", "..", "../.."],
])("each run has a folder of its own: %s", async (_, one, other) => {
  const { cells } = await designOf({ axes: { arm: armsOf(one, other), seed: [1] }, contrasts: [] })
  const ids = cells.map(({ id }) => id)
  expect(new Set(ids).size).toBe(3)
  for (const id of ids) expect(id).toMatch(/^(?=.*[a-z0-9])[a-z0-9.-]{1,100}$/)
})

test("an axis of one value, and the config's own seed where no axis names any", async () => {
  const { cells } = await designOf({ axes: { objective: ["dft"] }, contrasts: [] })
  expect(cells.map(({ id }) => id)).toEqual(["base", "dft-0"])
  const config = { model: MODEL, data: { train: "train.jsonl" }, max_steps: 1, seed: 5 }
  const seeded = await designOf({ config, axes: { objective: ["dft"] }, contrasts: [] })
  expect(seeded.cells.map(({ id }) => id)).toEqual(["base", "dft-5"])
})

test("the plan of one problem promises no difference", async () => {
  const { evaluations } = await studyPlan(writeStudy({}))
  expect(evaluations.map((one) => one.smallest_difference)).toEqual([Number.POSITIVE_INFINITY])
})
