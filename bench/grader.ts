import { existsSync, readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { gradeAll, type Mode } from "../src/grading/index.ts"

const DATA = fileURLToPath(new URL("../../shared/data/", import.meta.url))

interface Pair {
  readonly gold: string | number | null
  readonly answer: string
  readonly equal: boolean
}

type Row = Readonly<Record<string, never>>

function rows(file: string): Row[] {
  const text = readFileSync(`${DATA}${file}`, "utf8")
  if (text.startsWith("[")) return JSON.parse(text)
  return text
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line))
}

const asText = (value: unknown): string => (value === null ? "" : String(value))
const SETS: readonly {
  readonly name: string
  readonly mode: Mode
  readonly pairs: () => readonly (readonly Pair[])[]
}[] = [
  {
    name: "Math-Verify's tests",
    mode: "lenient",
    pairs: () =>
      rows("answer_equivalence/math_verify_tests.jsonl").map(({ gold, pred, is_equal }) => [
        { gold, answer: pred, equal: is_equal },
      ]),
  },
  ...(["strict", "lenient"] as const).map((mode) => ({
    name: "NeMo-Skills' pairs, both ways",
    mode,
    pairs: () =>
      rows("answer_equivalence/nemo_skills_math_equal.jsonl").map(({ a, b, is_equal }) => [
        { gold: a, answer: asText(b), equal: is_equal },
        { gold: b, answer: asText(a), equal: is_equal },
      ]),
  })),
  {
    name: "Hendrycks' is_equiv pairs",
    mode: "strict",
    pairs: () =>
      rows("answer_equivalence/hendrycks_is_equiv.jsonl").map(({ a, b, is_equal }) => [
        { gold: a, answer: b, equal: is_equal },
      ]),
  },
  {
    name: "MATH-500 against its solutions",
    mode: "strict",
    pairs: () =>
      rows("benchmarks/math500/math500_test.json").map(({ solution, answer }) => [
        { gold: answer, answer: solution, equal: true },
      ]),
  },
  {
    name: "GSM8K test against its solutions",
    mode: "strict",
    pairs: () =>
      rows("benchmarks/gsm8k/test.jsonl").map(({ answer }) => [
        { gold: asText(answer).split("####")[1]!, answer, equal: true },
      ]),
  },
  {
    name: "MATH train's solutions, 7,500",
    mode: "strict",
    pairs: () =>
      rows("sft/math_train/train.jsonl").map(({ solution }) => [
        { gold: solution, answer: solution, equal: true },
      ]),
  },
]

/** Scores on pairs with known verdicts, every disagreement, and verdicts per second (a thread's start included). */
export async function run(): Promise<void> {
  if (!existsSync(DATA)) {
    console.log(`grader: ${DATA} is absent, nothing measured`)
    return
  }
  for (const { name, mode, pairs } of SETS) {
    const cases = pairs()
    const flat = cases.flat()
    const begun = performance.now()
    const verdicts = await gradeAll(
      flat.map(({ answer, gold }) => ({ completion: answer, gold })),
      mode,
    )
    const seconds = (performance.now() - begun) / 1000
    let at = 0
    let agreed = 0
    for (const [index, group] of cases.entries()) {
      const judged = group.map((pair) => ({ pair, verdict: verdicts[at++]! }))
      const wrong = judged.filter(({ pair, verdict }) => verdict.correct !== pair.equal)
      if (wrong.length === 0) agreed++
      for (const { pair, verdict } of wrong) {
        const { extracted, gold, reason } = verdict
        console.log(
          `  row ${index}, labelled ${pair.equal ? "equal" : "different"}: ${JSON.stringify({ gold, extracted, reason })}`,
        )
      }
    }
    const share = ((100 * agreed) / cases.length).toFixed(1)
    const rate = Math.round(flat.length / seconds)
    console.log(
      `${name} (${mode}): ${agreed} of ${cases.length} agree (${share} %), ${rate} verdicts/s`,
    )
  }
}
