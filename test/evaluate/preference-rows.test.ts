import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, test } from "vitest"
import { gradeFile } from "../../src/evaluate/index.ts"
import { choosePairs } from "../../src/evaluate/preference-rows.ts"

const folder = mkdtempSync(join(tmpdir(), "dftune-pairs-"))
afterAll(() => rmSync(folder, { recursive: true }))

const sample = (problem: string, answer: number, more = {}) => ({
  ...{ problem, answer: "2", completion: `\\boxed{${answer}}`, finish_reason: "stop" },
  ...more,
})
/**
 * Two right (one twice) and three wrong; all right; all wrong; a refused one and an undecided one.
 */
const ROWS = [
  ...[2, 3, 2, 4, 5].map((answer) => sample("a", answer)),
  sample("a", 2, { completion: "It is \\boxed{2}" }),
  ...[2, 2].map((answer) => sample("b", answer)),
  ...[3, 4].map((answer) => sample("c", answer)),
  sample("d", 2),
  sample("d", 3, { completion: "", finish_reason: "error", error: "no" }),
  sample("d", 3, { completion: "\\boxed{\\infty-\\infty}" }),
]

let files = 0
async function written(rows: readonly object[], options: object, origin?: object) {
  const path = join(folder, `${files}.jsonl`)
  const out = join(folder, `${files++}.out.jsonl`)
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(""))
  if (origin) writeFileSync(`${path}.origin.json`, JSON.stringify(origin))
  const summary = await gradeFile(path, { mode: "lenient", out, ...options })
  const text = readFileSync(out, "utf8").trim()
  return { summary, rows: text === "" ? [] : text.split("\n").map((line) => JSON.parse(line)) }
}
const pairs = (more = {}) => ({
  pairs: { pairing: "best", maxPerPrompt: undefined, seed: 0, ...more },
})
const labels = (more = {}) => ({
  labels: { maxPerPrompt: undefined, dedupe: false, seed: 0, ...more },
})
const content = (turns: readonly { content: string }[]) => turns.at(-1)!.content

test("one pair a prompt: a right answer against a wrong one", async () => {
  const { rows, summary } = await written(ROWS, pairs())
  expect(summary).toMatchObject({ rows: ROWS.length, kept: 1 })
  expect(rows).toHaveLength(1)
  expect(Object.keys(rows[0])).toEqual(["prompt", "chosen", "rejected"])
  expect(rows[0].prompt).toEqual([{ role: "user", content: "a" }])
  expect(content(rows[0].chosen)).toContain("boxed{2}")
  expect(content(rows[0].rejected)).toMatch(/boxed\{[345]\}/)
  expect((await written(ROWS, pairs())).rows).toEqual(rows)
})

test("another seed draws another pair, sooner or later", () => {
  const marks = [1, 1, 0, 0, 0].map((score, i) => ({
    ...{ prompt: "a", completion: String(i), correct: score === 1, score, usable: true },
  }))
  const drawn = Array.from({ length: 8 }, (_, seed) =>
    choosePairs(marks, { pairing: "best", maxPerPrompt: undefined, seed }).join(),
  )
  expect(new Set(drawn).size).toBeGreaterThan(1)
})

test("all against all: repeats once, at most k of a prompt", async () => {
  const { rows } = await written(ROWS, pairs({ pairing: "all" }))
  expect(rows).toHaveLength(2 * 3)
  expect(new Set(rows.map((row) => JSON.stringify(row))).size).toBe(6)
  expect((await written(ROWS, pairs({ pairing: "all", maxPerPrompt: 4 }))).rows).toHaveLength(4)
})

test("a numeric reward says which is better", async () => {
  const rows = [0.2, 0.9, 0.9, 0.1].map((reward, i) =>
    sample("a", 2, { reward, completion: `\\boxed{2} (${i})` }),
  )
  const { rows: one } = await written(rows, pairs())
  expect(content(one[0].chosen)).toMatch(/\([12]\)/)
  expect(content(one[0].rejected)).toContain("(3)")
  expect((await written(rows, pairs({ pairing: "all" }))).rows).toHaveLength(5)
})

test("every usable sample with its label", async () => {
  const { rows } = await written(ROWS, labels())
  expect(rows).toHaveLength(11)
  expect(Object.keys(rows[0])).toEqual(["prompt", "completion", "label"])
  expect(rows.filter(({ label }) => label)).toHaveLength(6)
  expect((await written(ROWS, labels({ dedupe: true }))).rows).toHaveLength(9)
  expect((await written(ROWS, labels({ maxPerPrompt: 1 }))).rows).toHaveLength(4)
})

test("a prompt stays what it was", async () => {
  const chat = [
    { role: "system", content: "s" },
    { role: "user", content: "q" },
  ]
  const one = async (prompt: object, origin?: object) => {
    const rows = [2, 3].map((answer) => {
      const { problem: _, ...rest } = sample("", answer)
      return { ...prompt, ...rest }
    })
    return (await written(rows, pairs(), origin)).rows[0]
  }
  expect(await one({ prompt: "1+1=" })).toEqual({
    ...{ prompt: "1+1=", chosen: "\\boxed{2}", rejected: "\\boxed{3}" },
  })
  expect((await one({ prompt: chat })).prompt).toEqual(chat)
  const trained = [...chat, { role: "assistant", content: "gold" }]
  expect((await one({ messages: trained })).prompt).toEqual(chat)
  expect((await one({ problem: "q", system: "s" })).prompt).toEqual(chat)
  // asked without a template: the question and one newline
  expect((await one({ question: "q" }, { prompts: "text" })).prompt).toBe("q\n")
})
