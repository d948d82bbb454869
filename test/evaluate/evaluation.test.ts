import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import {
  compareEvaluations,
  type EvaluateOptions,
  evaluateSuite,
  evaluationHtml,
  gradeFile,
  openSuite,
  resultTable,
  SUITES,
  selectCorrect,
  suiteProgress,
} from "../../src/evaluate/index.ts"
import type { SampleSource } from "../../src/generate/index.ts"

const folder = mkdtempSync(join(tmpdir(), "dftune-evaluate-"))
afterAll(() => rmSync(folder, { recursive: true }))
const file = (name: string, rows: readonly object[]): string => {
  const path = join(folder, name)
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""))
  return path
}

const mkdir = (path: string): string => {
  mkdirSync(path, { recursive: true })
  return path
}

/** Answers by seed: every third sample is wrong; counts what it is asked. */
function memorySource(): { source: SampleSource; asked: () => number } {
  let asked = 0
  const source: SampleSource = {
    async *sample(requests) {
      for (const [requestIndex, { prompt, n, seed }] of requests.entries()) {
        for (let sampleIndex = 0; sampleIndex < n; sampleIndex++) {
          asked++
          const value =
            Number(/\d+/.exec(String(prompt))![0]) + ((seed + sampleIndex) % 3 === 0 ? 1 : 0)
          yield {
            requestIndex,
            sampleIndex,
            completion: `It is \\boxed{${value}}.`,
            tokenIds: [1, 2],
            logprobs: [-0.1, -0.2],
            finishReason: "stop" as const,
            seed: seed + sampleIndex,
          }
        }
      }
    },
  }
  return { source, asked: () => asked }
}

const problems = [10, 20, 30, 40].map((value) => ({
  id: `p${value}`,
  problem: `What is ${value}?`,
  gold: String(value),
}))
const settings = {
  n: 3,
  temperature: 1,
  maxNewTokens: 8,
  seed: 0,
  prompt: "raw",
  mode: "lenient",
  stop: [],
} as const
const options = (source: SampleSource, name: string): EvaluateOptions => ({
  openSource: async () => ({ source, release: async () => {} }),
  model: "memory",
  suite: "counting",
  problems,
  settings,
  folder: join(folder, name),
})

test("a suite is sampled, graded and summed up; a second call samples nothing", async () => {
  const { source, asked } = memorySource()
  const graded: string[] = []
  const { onGraded } = suiteProgress("sums", (line) => void graded.push(line))
  const result = await evaluateSuite({ ...options(source, "a"), onGraded })
  expect(graded.at(-1)).toMatch(/^sums: grading █+ +100 % · (\d+) of \1 answers/)
  expect(result).toMatchObject({ problems: 4, n: 3, majority: 1, undecided: 0, mean_tokens: 2 })
  expect(result).not.toHaveProperty("dtype") // nothing is known of the source
  const origin = { model: "memory", dtype: "bf16" }
  const named = await evaluateSuite({ ...options(source, "named"), origin })
  expect(named).toMatchObject({ dtype: "bf16", score: result.score })
  const kept = readFileSync(join(folder, "named", "counting.samples.jsonl"), "utf8")
  expect(kept.match(/"dtype":"bf16"/g)).toHaveLength(12)
  expect(result.score).toBeCloseTo(2 / 3, 12)
  expect(result.pass_at).toEqual({ 1: result.score, 2: 1, 3: 1 })
  expect(asked()).toBe(24)
  const { settings: told } = result
  expect(Object.keys(told).filter((key) => !/^[a-z0-9_]+$/.test(key))).toEqual([])
  expect(told).toMatchObject({ max_new_tokens: 8, n: settings.n, mode: settings.mode })
  const again = await evaluateSuite(options(source, "a"))
  expect(asked()).toBe(24)
  expect({ ...again, tokens_per_second: 0 }).toEqual({ ...result, tokens_per_second: 0 })
  const records = readFileSync(join(folder, "a", "counting.jsonl"), "utf8")
    .trim()
    .split("\n")
  expect(JSON.parse(records[0]!)).toMatchObject({
    id: "p10",
    correct: false,
    extracted: "11",
    gold: "10",
    reason: "different values",
    found: "boxed",
  })
})

test("an interrupted evaluation goes on with what is missing and ends the same", async () => {
  const { source } = memorySource()
  const whole = await evaluateSuite(options(source, "whole"))
  const torn: SampleSource = {
    async *sample(requests) {
      let left = 5
      for await (const sample of source.sample(requests)) {
        if (left-- === 0) throw new Error("the machine went away")
        yield sample
      }
    },
  }
  await expect(evaluateSuite(options(torn, "torn"))).rejects.toThrow("went away")
  const rest = memorySource()
  const resumed = await evaluateSuite(options(rest.source, "torn"))
  expect(rest.asked()).toBe(7)
  expect({ ...resumed, tokens_per_second: 0 }).toEqual({ ...whole, tokens_per_second: 0 })
})

test("a folder of other settings is not continued", async () => {
  const { source } = memorySource()
  await evaluateSuite(options(source, "settings"))
  const other = { ...options(source, "settings"), settings: { ...settings, temperature: 0.5 } }
  await expect(evaluateSuite(other)).rejects.toThrow(/cannot be continued/)
})

test("the table and the page show every problem, and the data cannot become markup", async () => {
  const { source } = memorySource()
  const evil = { id: "evil", problem: "What is 7 </script><b>?", gold: "7" }
  const asked = { ...options(source, "page"), problems: [...problems, evil] }
  const result = await evaluateSuite(asked)
  expect(resultTable([result])).toMatch(/counting +5 +3/)
  const html = await evaluationHtml(asked.folder, [result])
  expect(html).not.toContain("7 </script>")
  expect(html.match(/<\/script>/g)).toHaveLength(2)
  expect(html).not.toMatch(/(?:src|href)=["']?http/)
})

test("two evaluations are compared problem by problem, in the same mode only", async () => {
  const { source } = memorySource()
  const perfect: SampleSource = {
    async *sample(requests) {
      for await (const sample of source.sample(requests)) {
        const { prompt } = requests[sample.requestIndex]!
        yield { ...sample, completion: `\\boxed{${/\d+/.exec(String(prompt))![0]}}` }
      }
    },
  }
  const folders = ["a", "b", "c"].map((name) => join(folder, "compared", name))
  for (const [i, from] of [source, perfect, source].entries()) {
    const mode = i === 2 ? "strict" : "lenient"
    const asked = {
      ...options(from, `compared/${"abc"[i]}`),
      settings: { ...settings, mode },
    } as const
    writeFileSync(
      join(mkdir(asked.folder), "eval.json"),
      JSON.stringify([await evaluateSuite(asked)]),
    )
  }
  const [compared] = await compareEvaluations(folders.slice(0, 2))
  expect(compared!.suites).toMatchObject([
    { suite: "counting", b: 1, problems: 4, exceedsNoise: true },
  ])
  expect(compared!.suites[0]!.difference).toBeCloseTo(1 / 3, 12)
  await expect(compareEvaluations([folders[0]!, folders[2]!])).rejects.toThrow(/strict mode/)

  const records = join(folders[1]!, "counting.jsonl")
  const others = readFileSync(records, "utf8").replaceAll('"id":"', '"id":"another-')
  writeFileSync(records, others)
  const two = folders.slice(0, 2)
  await expect(compareEvaluations(two)).rejects.toThrow(/counting shares no problem with/)
  const elsewhere = join(mkdir(join(folder, "elsewhere")), "secret.txt")
  writeFileSync(elsewhere, "SECRET")
  for (const name of ["counting.jsonl", "eval.json"]) {
    rmSync(join(folders[1]!, name))
    symlinkSync(elsewhere, join(folders[1]!, name))
    await expect(compareEvaluations(two)).rejects.toThrow(new RegExp(`${name}: is a link to`))
  }
})

test("grade adds a verdict to every row, and names the row that has no answer", async () => {
  const rows = [
    { problem: "a", completion: "\\boxed{2}", answer: "#### 2" },
    { problem: "a", completion: "\\boxed{3}", answer: "\\boxed{2}" },
    { problem: "b", completion: "nothing here", answer: 5 },
  ]
  const path = file("samples.jsonl", rows)
  const out = join(folder, "graded.jsonl")
  const summary = await gradeFile(path, { mode: "lenient", out })
  expect(summary).toMatchObject({
    rows: 3,
    correct: 1,
    no_answer: 1,
    prompts: 2,
    prompts_solved: 1,
  })
  const graded = readFileSync(out, "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line))
  expect(graded.map(({ correct }) => correct)).toEqual([true, false, false])
  expect(graded[2]).toMatchObject({ ...rows[2], extracted: null, gold: "5" })
  const bad = file("bad.jsonl", [rows[0]!, { completion: "x" }])
  await expect(gradeFile(bad, { mode: "lenient", out })).rejects.toThrow(
    /bad\.jsonl:2.*gold answer/,
  )
  await expect(gradeFile(file("empty.jsonl", []), { mode: "lenient", out })).rejects.toThrow(
    /found none/,
  )
})

const mark = (prompt: string, completion: string, correct: boolean) => ({
  prompt,
  completion,
  correct,
})

test("what is kept: correct, at most k of a prompt, repeats once, quarters of difficulty alike", () => {
  const plain = { dedupe: false, maxPerPrompt: undefined, balance: false }
  const rows = [
    mark("easy", "1", true),
    mark("easy", "1", true),
    mark("easy", "2", true),
    mark("easy", "3", true),
    mark("hard", "1", true),
    mark("hard", "2", false),
    mark("hard", "3", false),
    mark("hard", "4", false),
  ]
  expect([...selectCorrect(rows, plain)]).toEqual([0, 1, 2, 3, 4])
  expect([...selectCorrect(rows, { ...plain, dedupe: true })]).toEqual([0, 2, 3, 4])
  expect([...selectCorrect(rows, { ...plain, maxPerPrompt: 2 })]).toEqual([0, 1, 4])
  const balanced = selectCorrect(rows, { ...plain, balance: true })
  expect(balanced.size).toBe(2)
  expect(balanced.has(4)).toBe(true)
  expect(selectCorrect(rows, { ...plain, balance: true })).toEqual(balanced)
})

test("a user's own file is a suite; unknown names and empty answers are told", async () => {
  const path = file("own.jsonl", [{ question: "1+1?", answer: 2 }])
  expect(await openSuite(path, {})).toMatchObject({
    name: "own",
    problems: [{ problem: "1+1?", gold: "2" }],
  })
  await expect(openSuite("math50", {})).rejects.toThrow(/math500/)
  await expect(openSuite("gsm8k", { folder })).rejects.toThrow(/gsm8k\/test.jsonl/)
  const bad = file("bad-suite.jsonl", [{ question: "1+1?" }])
  await expect(openSuite(bad, {})).rejects.toThrow(/bad-suite.jsonl:1/)
})

const BENCHMARKS = new URL("../../../shared/data/benchmarks/", import.meta.url).pathname
const SIZES = {
  gsm8k: 1319,
  math500: 500,
  minerva_math: 272,
  olympiadbench: 675,
  aime24: 30,
  amc23: 40,
}

test("every suite reads its files with unique ids", async ({ skip }) => {
  const present = await openSuite("aime24", { folder: BENCHMARKS }).catch(() => undefined)
  if (!present) skip("shared data absent: the suites' files were not read")
  for (const { name } of SUITES.filter((suite) => suite.name in SIZES)) {
    const { problems: found } = await openSuite(name, { folder: BENCHMARKS })
    expect([name, found.length]).toEqual([name, SIZES[name as keyof typeof SIZES]])
    expect(new Set(found.map(({ id }) => id)).size).toBe(found.length)
  }
})
