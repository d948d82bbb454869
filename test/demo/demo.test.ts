import { existsSync, mkdtempSync, readFileSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { describe, expect, test } from "vitest"
import { demoConclusions } from "../../src/demo/conclusions.ts"
import { writeDemoData } from "../../src/demo/data.ts"
import {
  type DemoResult,
  demoConfig,
  dftMinusSft,
  runDemo,
  type Score,
} from "../../src/demo/experiment.ts"
import { demoPage } from "../../src/demo/page.ts"
import {
  answerOf,
  calcPrompt,
  facts,
  knownFacts,
  problem,
  solution,
  statedAnswer,
  valuesOf,
  wordPrompt,
} from "../../src/demo/problems.ts"
import { demoText } from "../../src/demo/table.ts"
import { randomStream } from "../../src/random.ts"

const MODEL = fileURLToPath(new URL("../../demo/model", import.meta.url))
const newFolder = () => mkdtempSync(join(tmpdir(), "dftune-demo-"))
const RANGE = { minSteps: 1, maxSteps: 4, maxOperand: 20, maxValue: 99 }

describe("problems", () => {
  test("stay in their range, and a solution states the problem's answer", () => {
    const random = randomStream(0, "test")
    for (let i = 0; i < 500; i++) {
      const task = problem(random, RANGE)
      const values = valuesOf(task)
      expect(values.every((value) => value >= 0 && value <= 99)).toBe(true)
      expect(values.length).toBe(task.steps.length)
      for (const style of ["equations", "verbose", "direct"] as const) {
        expect(statedAnswer(solution(random, task, { style }))).toBe(String(answerOf(task)))
      }
    }
  })

  test("a corrupted solution has exactly one step that does not follow", () => {
    const random = randomStream(1, "test")
    for (let i = 0; i < 500; i++) {
      const task = problem(random, RANGE)
      const text = solution(random, task, { style: "equations", corrupted: true })
      const steps = [...text.matchAll(/(\d+) ([+*-]) (\d+) = (\d+)\./g)]
      const wrong = steps.filter(([, a, sign, b, c]) => {
        const [x, y] = [Number(a), Number(b)]
        const right = sign === "+" ? x + y : sign === "-" ? x - y : x * y
        return Math.abs(right) !== Number(c)
      })
      expect(wrong.length, text).toBe(1)
    }
  })

  test("the same seed tells the same story, and both prompts hold every number", () => {
    const [a, b] = [randomStream(2, "test"), randomStream(2, "test")]
    const [one, two] = [problem(a, RANGE), problem(b, RANGE)]
    expect(one).toEqual(two)
    expect(wordPrompt(a, one)).toBe(wordPrompt(b, two))
    expect(calcPrompt(one).match(/\d+/g)!.length).toBe(one.steps.length + 1)
  })

  test("new facts have new names", () => {
    const known = new Set(knownFacts().map(({ name }) => name))
    const fresh = facts(randomStream(3, "test"), 300, known)
    expect(new Set(fresh.map(({ name }) => name)).size).toBe(300)
    expect(fresh.some(({ name }) => known.has(name))).toBe(false)
  })
})

test("no question was trained, and the held-out rows are no training rows", async () => {
  const [noisy] = await writeDemoData(newFolder(), { trainRows: 300, newFacts: 20, questions: 50 })
  const trained = readFileSync(noisy!.train, "utf8")
  for (const { name, questions } of noisy!.sets) {
    expect(questions.length).toBe(50)
    for (const { prompt } of questions) expect(trained.includes(prompt), name).toBe(false)
  }
  const held = readFileSync(noisy!.eval, "utf8").trim().split("\n")
  expect(held.some((row) => trained.includes(row))).toBe(false)
})

/** A result without any training: outcomes as given. */
function madeUp(sft: boolean[], dft: boolean[]): DemoResult {
  const score = (model: Score["model"], outcomes: boolean[]): Score => ({
    task: "noisy",
    set: "as trained",
    model,
    temperature: 1,
    score: outcomes.filter(Boolean).length / outcomes.length,
    ci95: [0.1, 0.3],
    perSeed: [],
    problems: outcomes.length,
    outcomes: outcomes.map((right) => [right]),
  })
  const set = { name: "as trained", about: "", questions: [], maxNewTokens: 1 }
  const task = {
    name: "noisy",
    about: "made up",
    train: "",
    eval: "",
    rows: 1,
    sets: [set],
  } as const
  return {
    settings: { steps: { noisy: 1, facts: 1 } } as DemoResult["settings"],
    tasks: [task],
    runs: [],
    scores: [score("base", sft), score("sft", sft), score("dft", dft)],
    samples: [],
    seconds: 1,
  }
}

describe("what the numbers say", () => {
  const mostly = (right: number) => Array.from({ length: 100 }, (_, i) => i < right)
  const at = { task: "noisy", set: "as trained", temperature: 1 } as const

  test("a difference beyond noise is said with its sign, one within it is not claimed", () => {
    const better = madeUp(mostly(30), mostly(60))
    expect(dftMinusSft(better.scores, at).difference).toBeCloseTo(0.3)
    expect(demoConclusions(better)[0]).toMatch(/DFT is 30 points better/)
    expect(demoConclusions(madeUp(mostly(60), mostly(30)))[0]).toMatch(/DFT is 30 points worse/)
    expect(demoConclusions(madeUp(mostly(50), mostly(50)))[0]).toMatch(/no difference beyond noise/)
  })

  test("none right is no certainty", () => {
    const text = demoText(madeUp(mostly(0), mostly(100)), 100)
    expect(text).toMatch(/0 \(<3\)/)
    expect(text).toMatch(/100 \(>97\)/)
  })

  test("no line is wider than a narrow terminal", () => {
    const text = demoText(madeUp(mostly(30), mostly(60)), 40)
    for (const line of text.split("\n")) expect(line.length).toBeLessThanOrEqual(40)
  })
})

test("both objectives start from one model with the same rows, order and settings", () => {
  const settings = {
    model: MODEL,
    folder: "out",
    seeds: 1,
    questions: 1,
    trainRows: 1,
    newFacts: 1,
    steps: { noisy: 4, facts: 4 },
  }
  const task = madeUp([true], [true]).tasks[0]!
  const [sft, dft] = (["sft", "dft"] as const).map((objective) =>
    demoConfig(settings, { ...task, train: "a", eval: "b" }, { objective, seed: 1 }),
  )
  const same = (config: typeof sft) => ({ ...config, objective: null, output_dir: null })
  expect(same(sft)).toEqual(same(dft))
})

test("the demo runs to its page on the bundled model", async () => {
  const folder = newFolder()
  const stages: string[] = []
  const result = await runDemo(
    {
      model: MODEL,
      folder,
      seeds: 1,
      questions: 4,
      trainRows: 16,
      newFacts: 6,
      steps: { noisy: 2, facts: 2 },
    },
    { onStage: (text) => stages.push(text) },
  )
  expect(result.runs.length).toBe(4)
  for (const { path } of result.runs) expect(existsSync(join(path, "report.html"))).toBe(true)
  // 6 sets: the base at three temperatures, two objectives at two
  expect(result.scores.length).toBe(6 * (3 + 2 * 2))
  const html = demoPage(result, demoConclusions(result))
  writeFileSync(join(folder, "report.html"), html)
  expect(html).toMatch(/Answers and verdicts/)
  // with the page's components where they are built; what they are is in the page itself
  expect(html).toContain("default-src 'none'")
  expect(html).not.toMatch(/<link|<img|<script[^>]*\ssrc=|@import/)
  expect(stages.length).toBeGreaterThan(5)
}, 300_000)
