import { mkdtempSync, readFileSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { expect, test } from "vitest"
import { type ChoiceGold, judgeChoices, perCharacter } from "../../src/evaluate/choices.ts"
import { evaluateSuite } from "../../src/evaluate/index.ts"
import { openSuite } from "../../src/evaluate/suites/index.ts"
import { loadTokenizer } from "../../src/text/index.ts"
import { openScoredModel, tokenLogprobs } from "../../src/train/scored-model.ts"

const MODEL = fileURLToPath(new URL("../../demo/model", import.meta.url))

function suiteFile(rows: readonly unknown[], name = "own.jsonl"): string {
  const path = join(mkdtempSync(join(tmpdir(), "dftune-choices-")), name)
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""))
  return path
}

const gold = (text: string) => JSON.parse(text) as ChoiceGold

test("answers by index, letter, label or text, as benchmarks write them", async () => {
  const choices = ["red", "blue", "green"]
  const rows = [
    { question: "a?", choices, answer: 2 },
    { question: "b?", choices, answer: "B" },
    { question: "c?", choices, answer: "red" },
    { question: "d?", choices: { text: choices, label: ["1", "2", "3"] }, answerKey: "3" },
  ]
  const { judge, problems } = await openSuite(`choices:${suiteFile(rows)}`, {})
  expect(judge).toBe("choices")
  expect(problems.map((problem) => gold(problem.gold).answer)).toEqual([2, 1, 0, 2])
  expect(gold(problems[0]!.gold).context).toBe("Question: a?\nAnswer:")
  const wrong = openSuite(`choices:${suiteFile([{ question: "a?", choices, answer: "D" }])}`, {})
  await expect(wrong).rejects.toThrow(/own\.jsonl:1: expected the answer to be .* got "D"/)

  const folder = join(suiteFile([rows[0]], "mmlu.jsonl"), "..")
  const [mmlu] = (await openSuite("mmlu", { folder })).problems
  expect(gold(mmlu!.gold)).toMatchObject({
    context: "a?\nA. red\nB. blue\nC. green\nAnswer:",
    choices: ["A", "B", "C"],
    rule: "likeliest",
  })
})

test("an answer that could be two of the choices, or none, is not guessed", async () => {
  const answersOf = async (...rows: object[]) =>
    (await openSuite(`choices:${suiteFile(rows)}`, {})).problems.map((one) => gold(one.gold).answer)
  const one = { question: "a?", choices: { text: ["red", "blue", "B"], label: ["1", "2", "3"] } }
  const numbered = { ...one, choices: { ...one.choices, label: [3, 2, 1] } }
  expect(
    await answersOf(
      { ...one, answerKey: 2 },
      { ...numbered, answerKey: 3 },
      { ...one, answer: "B" },
    ),
  ).toEqual([1, 0, 2])
  const blood = { question: "Which?", choices: ["B", "A", "0"] }
  expect(await answersOf({ ...blood, answer: 1 }, { ...blood, answer: "C" })).toEqual([1, 2])
  await expect(answersOf({ ...blood, answer: "A" })).rejects.toThrow(
    'the answer "A" is the letter of one choice and the text of another; give its index, 0 or 1',
  )
  await expect(answersOf({ ...blood, choices: ["", "A"], answer: 0 })).rejects.toThrow(
    "choices: expected texts, got an empty one",
  )
})

test("a problem that does not fit is named, and no other's choices stand in for its own", async () => {
  const model = await openScoredModel(MODEL, { threads: 1 })
  const folder = mkdtempSync(join(tmpdir(), "dftune-choices-"))
  const short = { question: "1+1", choices: ["2", "3"], answer: 0 }
  try {
    // the second choice alone is cut off
    const long = { ...short, question: "1".repeat(8172), choices: ["2", "3 ".repeat(40)] }
    for (const question of [long.question, "1".repeat(8300)]) {
      const rows = [short, { ...long, question }, short]
      const { problems } = await openSuite(`choices:${suiteFile(rows)}`, {})
      const judged = judgeChoices({ model, called: "m", suite: "own", problems, folder })
      await expect(judged).rejects.toThrow("own own.jsonl:2: has more than 8192 tokens")
    }
  } finally {
    await model.release()
  }
})

test("the likeliest answer, whole or by its length, by the model's own ln p", async () => {
  const rows = [{ question: "3+4", choices: ["7", "12", "eleven and some more"], answer: 0 }]
  const { problems } = await openSuite(`choices:${suiteFile(rows)}`, {})
  const folder = mkdtempSync(join(tmpdir(), "dftune-choices-"))
  const model = await openScoredModel(MODEL, { threads: 1 })
  try {
    const tokenizer = await loadTokenizer(MODEL)
    const { context, choices } = gold(problems[0]!.gold)
    const sums: number[] = []
    for (const choice of choices) {
      const asked = tokenizer.encode(context)
      const ids = [...asked, ...tokenizer.encode(` ${choice}`)]
      const logp = await tokenLogprobs(model, ids)
      sums.push(logp.slice(asked.length - 1).reduce((a, b) => a + b, 0))
    }
    const [record] = await judgeChoices({ model, called: "m", suite: "own", problems, folder })
    expect(record!.reason).toBe(`ln p: ${sums.map((sum) => sum.toFixed(2)).join(", ")}`)
    const byLength = perCharacter(sums, choices)
    const best = (values: number[]) => choices[values.indexOf(Math.max(...values))]
    expect(record!.completion).toBe(best(byLength))
    expect(record!.strict).toBe(best(sums) === choices[0])
    expect(JSON.parse(readFileSync(join(folder, "own.jsonl"), "utf8"))).toEqual(record)
  } finally {
    await model.release()
  }
})

test("an answer's length is counted in characters, not in bytes or UTF-16 units", () => {
  expect(perCharacter([6, 6, 6], ["abc", "é°C", "𝛼x😀"])).toEqual([2, 2, 2])
})

test("a server tells no probability of given answers", async () => {
  const rows = [{ question: "3+4", choices: ["7", "12"], answer: 0 }]
  const { problems, judge } = await openSuite(`choices:${suiteFile(rows)}`, {})
  const settings = {
    n: 1,
    temperature: 0,
    maxNewTokens: 8,
    seed: 0,
    prompt: "auto",
    mode: "lenient",
    stop: [],
  } as const
  const folder = mkdtempSync(join(tmpdir(), "dftune-choices-"))
  const openSource = () => Promise.reject(new Error("not asked"))
  const asked = { openSource, model: "m", suite: "own", problems, judge, settings, folder }
  await expect(evaluateSuite(asked)).rejects.toThrow(/a server does not tell/)
  const openScored = () => openScoredModel(MODEL, { threads: 1 })
  const result = await evaluateSuite({ ...asked, openScored })
  expect([result.problems, result.n, result.undecided]).toEqual([1, 1, 0])
})
