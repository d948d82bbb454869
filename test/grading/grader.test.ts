import { existsSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { expect, test } from "vitest"
import {
  compareTexts,
  Grader,
  gradeAll,
  gradeUnbounded,
  type Mode,
} from "../../src/grading/index.ts"
import { fc } from "../seeded-check.ts"

const equal: readonly (readonly [string, string])[] = [
  ["2^{100}", "1267650600228229401496703205376"],
  ["\\frac{x^2-1}{x-1}", "x+1"],
  ["2\\frac{1}{3}", "7/3"],
  ["(x-1)(x-2)=0", "x^2-3x+2=0"],
  ["y=2x+1", "2x-y+1=0"],
  ["x \\ge 5", "[5,\\infty)"],
  ["(1,2)\\cup(3,4)", "(3,4)\\cup(1,2)"],
  [
    "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}",
    "\\begin{bmatrix} 1 & 2 \\\\ 3 & \\frac{8}{2} \\end{bmatrix}",
  ],
  ["3+4i", "4i+3"],
  ["e^{i\\pi}", "-1"],
  ["1.2 \\times 10^5", "120,000"],
  ["\\sin 30^\\circ", "\\frac12"],
  ["\\{1,2\\}", "\\{2,1\\}"],
  ["\\$18.90", "18.9"],
  ["(n+1)!", "(n+1)n!"],
  ["\\sqrt[3]{-8}", "-2"],
  ["\\text{(A)}", "A"],
]
test.each(equal)("strict: %s equals %s", (gold, answer) => {
  expect(compareTexts(gold, answer).strict.equal).toBe(true)
})

const different: readonly (readonly [string, string])[] = [
  ["2^{100}", "1267650600228229401496703205377"],
  ["|x|", "x"],
  ["10000", "10001"],
  ["(1,2)", "(2,1)"],
  ["(1,2)", "[1,2)"],
  ["x=5", "y=5"],
  ["x>5", "x<5"],
  ["x>5", "y>5"],
  ["y=2x+1", "y=2x+2"],
  ["5 m", "5 km"],
  ["10:05", "2"],
  ["6.63e-34", "6.62e-34"],
  ["0", "1e-300"],
  ["\\pm 3", "3"],
  ["1,2", "12"],
  ["3", ""],
  ["3", "\\frac{3"],
  ["3", "{"],
  ["3", "3".repeat(3_000)],
]
test.each(different)("lenient: %s does not equal %s", (gold, answer) => {
  expect(compareTexts(gold, answer).lenient.equal).not.toBe(true)
})

const lenientOnly: readonly (readonly [string, string])[] = [
  ["1,2", "2,1"],
  ["1/3", "0.3333"],
  ["0.28", "28\\%"],
  ["Monday", "Mon"],
  ["five", "5"],
  ["2.74", "2,74"],
]
test.each(lenientOnly)("only lenient: %s equals %s", (gold, answer) => {
  const { strict, lenient } = compareTexts(gold, answer)
  expect([strict.equal, lenient.equal]).toEqual([false, true])
})

const extractions: readonly (readonly [string, string | null, string])[] = [
  ["so \\boxed{1}, no: \\boxed{\\frac{1}{\\sqrt{2}}}.", "\\frac{1}{\\sqrt{2}}", "boxed"],
  ["first \\boxed{1} then \\boxed{2", null, "nothing"],
  ["6 * 12 = 72\n#### 72\n", "72", "hash"],
  ["The answer is 15.", "15", "stated"],
  ["The answer is $x = 3$, as shown.", "x = 3", "stated"],
  ["<think>\\boxed{1}</think> The answer is 2.", "2", "stated"],
  ["\\boxed{7}<|im_end|>\n<|im_start|>user \\boxed{8}", "7", "boxed"],
  ["They ate 3 apples and then 4 more pears.", "4", "last number"],
  ["Therefore we find $y = 4$ in the end.", "y = 4", "last math"],
  ["I do not know the solution of this", null, "nothing"],
]
test.each(extractions)("%s: found %s as %s", (completion, extracted, found) => {
  expect(gradeUnbounded(completion, "7", "lenient")).toMatchObject({ extracted, found })
})

test("a strict grader takes no answer that is not marked as one", () => {
  const completion = "They ate 3 apples and then 4 more pears."
  expect(gradeUnbounded(completion, "4", "strict")).toMatchObject({ correct: false, lenient: true })
  expect(gradeUnbounded(completion, "4", "lenient")).toMatchObject({ correct: true, strict: false })
})

test("the paper's quirks are in its mode only", () => {
  for (const [completion, gold] of [
    ["\\boxed{0.5}", "50"],
    ["\\boxed{5000}", "50"],
    ["\\boxed{50.004}", "50"],
  ] as const) {
    expect(gradeUnbounded(completion, gold, "paper").correct).toBe(true)
    expect(gradeUnbounded(completion, gold, "lenient").correct).toBe(false)
  }
})

const arbitraryText = fc.oneof(
  fc.string({ maxLength: 60 }),
  fc
    .array(
      fc.constantFrom(
        ..."\\frac \\sqrt { } ( ) [ ] , . 1 2 x y + - ^ _ = < \\pm \\cup \\text{a} \\boxed{ $ % \\{ \\} \\le e i \\infty & \\\\ !".split(
          " ",
        ),
      ),
      { maxLength: 14 },
    )
    .map((parts) => parts.join("")),
)

test("no text throws, and what is strictly equal is leniently equal", () => {
  fc.assert(
    fc.property(arbitraryText, arbitraryText, (gold, answer) => {
      const { strict, lenient } = compareTexts(gold, answer)
      if (strict.equal) expect(lenient.equal).toBe(true)
      for (const mode of ["strict", "lenient", "paper"] as const satisfies Mode[]) {
        const verdict = gradeUnbounded(answer, gold, mode)
        if (verdict.correct) expect(verdict.extracted?.trim()).toBeTruthy()
      }
    }),
    { numRuns: 400, seed: 7 },
  )
})

test("equality is symmetric on rationals written in many ways, and other values are different", () => {
  const fraction = fc.tuple(fc.integer({ min: -999, max: 999 }), fc.integer({ min: 1, max: 99 }))
  const writings = ([n, d]: [number, number]): string[] => [
    `\\frac{${n}}{${d}}`,
    `${n}/${d}`,
    `\\dfrac{${2 * n}}{${2 * d}}`,
    `\\left(\\frac{${n}}{${d}}\\right)`,
    `${n} \\cdot ${d}^{-1}`,
  ]
  fc.assert(
    fc.property(fraction, fc.nat(4), fc.nat(4), ([n, d], i, j) => {
      const [a, b] = [writings([n, d])[i]!, writings([n, d])[j]!]
      expect(compareTexts(a, b).strict.equal).toBe(true)
      const other = writings([n + 1, d])[j]!
      expect(compareTexts(a, other).lenient.equal).toBe(false)
      expect(compareTexts(other, a).lenient.equal).toBe(false)
    }),
    { numRuns: 150, seed: 7 },
  )
})

test("texts that blow up the parser are given up as undecided, and the others are graded", async () => {
  const bomb = `\\boxed{${"|".repeat(60)}}`
  const items = [
    { completion: "\\boxed{1}", gold: "1" },
    { completion: bomb, gold: "1" },
    { completion: "\\boxed{9^{9^{9^{9^9}}}}", gold: "\\sqrt{x}" },
    { completion: `\\boxed{${"(".repeat(900)}}`, gold: "1" },
    { completion: "\\boxed{2}", gold: "1" },
  ]
  const verdicts = await gradeAll(items)
  expect(verdicts.map(({ correct }) => correct)).toEqual([true, false, false, false, false])
  expect(verdicts[1]).toMatchObject({ decided: false, correct: false })
  expect(verdicts[1]!.reason).toMatch(/could not read/)
  expect(verdicts[4]).toMatchObject({ decided: true })
})

test("an asker that gives up is answered at once, and another's items are judged", async () => {
  await using grader = new Grader()
  const stop = new AbortController()
  const items = Array.from({ length: 200 }, () => ({ completion: "\\boxed{1}", gold: "1" }))
  const stopped = grader.grade(items, stop.signal)
  const others = grader.grade([{ completion: "\\boxed{2}", gold: "2" }])
  stop.abort(new Error("Ctrl-C"))
  await expect(stopped).rejects.toThrow("Ctrl-C")
  await expect(grader.grade(items, stop.signal)).rejects.toThrow("Ctrl-C")
  expect((await others).map(({ correct }) => correct)).toEqual([true])
})

test.each<Mode>(["strict", "lenient", "paper"])(
  "%s: enormous texts are wrong, not slow or fatal",
  async (mode) => {
    const texts = [
      "the answer is ".repeat(14_000),
      "$".repeat(200_000),
      "\\boxed{".repeat(20_000),
      "1".repeat(200_000),
      "1,".repeat(100_000),
      "\\[ ".repeat(60_000),
      `\\boxed{${"\\pm 1".repeat(300)}}`,
      `\\boxed{${"\\{".repeat(400)}1${"\\}".repeat(400)}}`,
      "\\boxed{\\sum_{i=1}^{1000}\\sum_{j=1}^{1000}\\sum_{k=1}^{1000} ijk}",
      "\\boxed{5000!^{5000!}}",
    ]
    const verdicts = await gradeAll(
      texts.map((completion) => ({ completion, gold: "8" })),
      mode,
    )
    for (const verdict of verdicts) expect(verdict.correct).toBe(false)
  },
)

const DATA = fileURLToPath(new URL("../../../shared/data/", import.meta.url))
const present = existsSync(DATA)
const rows = (file: string): Record<string, unknown>[] => {
  const text = readFileSync(`${DATA}${file}`, "utf8")
  return text.startsWith("[")
    ? JSON.parse(text)
    : text
        .split("\n")
        .filter(Boolean)
        .map((line) => JSON.parse(line))
}

test.skipIf(!present)("MATH-500's answers grade as correct against their own solutions", () => {
  for (const { solution, answer } of rows("benchmarks/math500/math500_test.json")) {
    const verdict = gradeUnbounded(solution as string, answer as string, "strict")
    expect(verdict, verdict.reason).toMatchObject({ correct: true, decided: true })
  }
})

test.skipIf(!present)("GSM8K's answers grade as correct against their own solutions", () => {
  for (const { answer } of rows("benchmarks/gsm8k/test.jsonl")) {
    const gold = (answer as string).split("####")[1]!
    expect(gradeUnbounded(answer as string, gold, "strict").correct).toBe(true)
  }
})

if (!present) console.log("shared data absent: benchmark gold answers and pairs were not graded")
