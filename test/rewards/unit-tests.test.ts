import { expect, test } from "vitest"
import { openScoring, rewardProblems, rowProblem } from "../../src/rewards/index.ts"
import { programIn } from "../../src/rewards/unit-tests.ts"

const tests = [
  { call: "add", args: [1, 2], equals: 3 },
  { call: "add", args: [[1], [2]], equals: [1, 2] },
]
const sample = (completion: string) => ({
  prompt: "write add",
  completion,
  token_ids: [1],
  finish_reason: "stop",
  row: { tests },
  where: "prompts.jsonl:3",
})
const RIGHT =
  "It joins lists:\n```js\nconst add = (a, b) => Array.isArray(a) ? [...a, ...b] : a + b\n```\nDone."
const HALF = "const add = (a, b) => a + b"

test("the last block of code is the program, or all of the answer", () => {
  expect(programIn("a\n```js\none\n```\nb\n```\ntwo\n```\n")).toBe("two")
  expect(programIn("```javascript\ncut at the li")).toBe("cut at the li")
  expect(programIn("function f() {}")).toBe("function f() {}")
})

test("1 for all tests, or the share of them", async () => {
  const settings = [
    { name: "unit-tests", weight: 1 },
    { name: "unit-tests", weight: 10, score: "share" },
  ]
  const scoring = openScoring(settings, { maxNewTokens: 10 })
  const scored = await scoring.score([RIGHT, HALF, "no program at all"].map(sample))
  await scoring.close()
  expect(scored.map(({ rewards }) => rewards)).toEqual([
    { "unit-tests": 1, "unit-tests-2": 1 },
    { "unit-tests": 0, "unit-tests-2": 0.5 },
    { "unit-tests": 0, "unit-tests-2": 0 },
  ])
  expect(scored.map(({ reward }) => reward)).toEqual([11, 5, 0])
})

test.each([
  [{ answer: "3" }, /needs a list of tests .*under tests; the row has answer/],
  [
    { tests: "def check(f):\n    assert f(1) == 2" },
    /runs JavaScript, and tests is a text of Python; set language: python/,
  ],
  [{ tests: [] }, /tests is an empty list/],
  [{ tests: [{ call: "f" }] }, /tests\[0\]: args is a list, got .*undefined|nothing/],
  [{ tests: [{ call: "f", args: [] }] }, /tests\[0\]: equals is missing/],
  [
    { tests: [tests[0], { call: "f(); g", args: [], equals: 1 }] },
    /tests\[1\]: call names a function/,
  ],
])("a row that has no tests is named: %j", (row, problem) => {
  expect(rowProblem(row as never, [{ name: "unit-tests", weight: 1 }])).toMatch(problem)
  expect(rowProblem({ tests } as never, [{ name: "unit-tests", weight: 1 }])).toBeUndefined()
})

test("Python programs against Python tests, all of them or the share", async () => {
  const python = { name: "unit-tests", language: "python" }
  const settings = [
    { ...python, weight: 1 },
    { ...python, weight: 10, score: "share" },
  ]
  expect(settings.flatMap((one) => rewardProblems(one))).toEqual([])
  const row = { tests: ["assert add(1, 2) == 3", "assert add([1], [2]) == [1, 2]"] }
  const programs = ["```python\ndef add(a, b):\n    return a + b\n```", "def add(a, b): return 3"]
  const scoring = openScoring(settings, { maxNewTokens: 10 })
  const scored = await scoring.score(programs.map((program) => ({ ...sample(program), row })))
  await scoring.close()
  expect(scored.map(({ rewards }) => rewards)).toEqual([
    { "unit-tests": 1, "unit-tests-2": 1 },
    { "unit-tests": 0, "unit-tests-2": 0.5 },
  ])
  expect(rowProblem({ tests: "assert f(1)" }, settings)).toBeUndefined()
  expect(rowProblem({ tests: [1] }, settings)).toMatch(/needs a text of Python statements/)
  expect(rowProblem({ answer: "3" }, settings)).toMatch(/under tests; the row has answer/)
}, 240_000)
