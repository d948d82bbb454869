import { mkdtempSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, test } from "vitest"
import { exactJudge } from "../../src/evaluate/judges/exact.ts"
import { programJudge, programOf } from "../../src/evaluate/judges/programs.ts"
import { promptIn } from "../../src/evaluate/prompts.ts"
import { openSuite } from "../../src/evaluate/suites/index.ts"

const PROMPT =
  'import math\n\ndef helper(x):\n    return x\n\ndef area(r):\n    """ Of a circle. """\n'
/** What a whole function stands behind. */
const BEFORE = "import math\n\ndef helper(x):\n    return x\n\n\n"
const gold = { entry: "area", prompt: PROMPT, tests: "assert area(0) == 0" }

function folderOf(name: string, rows: readonly unknown[]): string {
  const folder = mkdtempSync(join(tmpdir(), "dftune-suite-"))
  writeFileSync(join(folder, name), rows.map((row) => `${JSON.stringify(row)}\n`).join(""))
  return folder
}

test.each([
  ["a continuation", "    return math.pi * r\n", `${PROMPT}    return math.pi * r\n`],
  [
    "a continuation that goes on with other things",
    "    return r\n\nprint(area(1))\n",
    `${PROMPT}    return r\n`,
  ],
  [
    "a whole function in a block, behind the problem's imports and helpers",
    "Here:\n```python\ndef area(r):\n    return 3 * r\n```\nDone.",
    "import math\n\ndef helper(x):\n    return x\n\n\ndef area(r):\n    return 3 * r",
  ],
  [
    "the block that defines it, not the example after it",
    "```python\ndef area(r):\n    return 1\n```\n```python\narea(2)\n```",
    "import math\n\ndef helper(x):\n    return x\n\n\ndef area(r):\n    return 1",
  ],
  [
    "a block that was cut off",
    "```python\ndef area(r):\n    return 1",
    "import math\n\ndef helper(x):\n    return x\n\n\ndef area(r):\n    return 1",
  ],
  [
    "a block in a list, indented as a whole",
    "1. So:\n   ```python\n   def area(r):\n       return 1\n\n   x = 2\n   ```\n2. Done.",
    `${BEFORE}def area(r):\n    return 1\n\nx = 2`,
  ],
  [
    "a block between tildes, with backticks in it",
    '~~~python\ndef area(r):\n    """ ```r``` """\n    return 1\n~~~\nDone.',
    `${BEFORE}def area(r):\n    """ \`\`\`r\`\`\` """\n    return 1`,
  ],
  [
    "a block behind four backticks, with three in it",
    "````\ndef area(r):\n    return len('''\n```\n''')\n````",
    `${BEFORE}def area(r):\n    return len('''\n\`\`\`\n''')`,
  ],
  ["a block with the body alone", "```python\n    return 2 * r\n```", `${PROMPT}    return 2 * r`],
])("the program of %s", (_, completion, program) => {
  expect(programOf(completion, gold)).toBe(program)
})

test("HumanEval's rows and MBPP's, as questions and as code to continue", async () => {
  const row = {
    task_id: "HumanEval/1000",
    prompt: PROMPT,
    entry_point: "area",
    test: "def check(candidate):\n    assert candidate(0) == helper(0)\n",
    canonical_solution: "    return math.pi * r * r\n",
  }
  const { judge, problems } = await openSuite("humaneval", {
    folder: folderOf("HumanEval.jsonl", [row]),
  })
  expect(judge).toBe("programs")
  const [problem] = problems
  const chat = { hasTemplate: true, plainTexts: "auto", judge } as const
  expect(promptIn("chat", problem!, chat)).toEqual([{ role: "user", content: problem!.problem }])
  expect(promptIn("auto", problem!, { ...chat, hasTemplate: false })).toBe(PROMPT)
  expect(promptIn("raw", problem!, chat)).toBe(PROMPT)

  const mbpp = {
    task_id: 9,
    prompt: "Write a function to add.",
    code: "def add(a, b):\n    return a + b",
    test_imports: ["import math"],
    test_list: ["assert add(1, 2) == 3", "assert math.isclose(add(1, 2), 3)"],
  }
  const second = await openSuite("mbpp", { folder: folderOf("mbpp.jsonl", [mbpp]) })
  expect(second.problems[0]!.problem).toContain("assert add(1, 2) == 3")

  await using judged = await programJudge()
  const verdicts = await judged.judge([
    { completion: row.canonical_solution, gold: problem!.gold },
    { completion: "    return 7\n", gold: problem!.gold },
    { completion: `\`\`\`python\n${mbpp.code}\n\`\`\``, gold: second.problems[0]!.gold },
    { completion: "```python\ndef add(a, b):\n    return a\n```", gold: second.problems[0]!.gold },
  ])
  expect(verdicts.map(({ correct }) => correct)).toEqual([true, false, true, false])
}, 240_000)

test("word problems are asked whole", async () => {
  const row = { ID: "chal-1", Body: "Ann has 3 pens.", Question: "How many pens?", Answer: "3.0" }
  const { problems, judge } = await openSuite("svamp", { folder: folderOf("svamp.jsonl", [row]) })
  expect(problems).toEqual([
    { id: "chal-1", problem: "Ann has 3 pens. How many pens?", gold: "3.0" },
  ])
  expect(judge).toBe("math")
})

test("exact: the whole answer or its last line, without case and a full stop", async () => {
  await using judge = exactJudge()
  const golds = ["Paris", "Paris", "Paris", "new  york"]
  const completions = ["paris.", "It is in France:\nParis", "Paris, I think", "New York!"]
  const verdicts = await judge.judge(
    completions.map((completion, i) => ({ completion, gold: golds[i]! })),
  )
  expect(verdicts.map(({ correct }) => correct)).toEqual([true, true, false, true])
  // what the answer's last full stop leaves is not nothing
  const signs = ["", "...", "?", "Cafe\u0301 ."]
  const others = await judge.judge(
    signs.map((completion, i) => ({ completion, gold: i < 3 ? "?" : "café" })),
  )
  expect(others.map(({ correct }) => correct)).toEqual([false, false, true, true])
  const rows = [{ question: "Capital?", answer: "Paris" }]
  const path = join(folderOf("own.jsonl", rows), "own.jsonl")
  expect((await openSuite(`exact:${path}`, {})).judge).toBe("exact")
  expect((await openSuite(path, {})).judge).toBe("math")
})

test("problems of one id, or with that of another's place, stay apart", async () => {
  const ids = ["own.jsonl:2", undefined, "a", "a", "__proto__"]
  const rows = ids.map((id, i) => ({ ...(id && { id }), problem: `${i}+1`, answer: `${i + 1}` }))
  const { problems } = await openSuite(join(folderOf("own.jsonl", rows), "own.jsonl"), {})
  expect(problems.map(({ id }) => id)).toEqual([
    "own.jsonl:2",
    "own.jsonl:2+",
    "a",
    "own.jsonl:4",
    "own.jsonl:5",
  ])
})
