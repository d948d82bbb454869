import { boxedGroups } from "./boxes.ts"
import { isEnclosed, splitTopLevel } from "./brackets.ts"
import type { Extracted } from "./extract.ts"
import { normalizeLatex } from "./latex.ts"
import { parseExpression } from "./math-expression.ts"
import { matrixOf } from "./matrix.ts"
import { MAX_ANSWER_LENGTH } from "./read-answer.ts"
import { compareScalars, type Judgement } from "./scalar.ts"
import { takeUnit } from "./units.ts"

/**
 * The grader of the paper's evaluation (a fork of the Qwen2.5-Math harness), written anew after its
 * description in docs/method.md, 1.4, quirks included: the last number of the text counts when
 * nothing is marked, x/100 and 100x equal x, every number within 1e-4 relative. Its three sympy
 * parsers are replaced by ours, so single verdicts on symbolic answers can differ.
 */
export function gradeLikePaper(
  completion: string,
  gold: string,
): { judgement: Judgement; extracted: string; found: Extracted["found"] } {
  const { text, found } = paperAnswer(completion)
  if (text.length > MAX_ANSWER_LENGTH) {
    const reason = `the answer has ${text.length} characters (at most ${MAX_ANSWER_LENGTH})`
    return { judgement: { equal: false, reason }, extracted: text, found }
  }
  return { judgement: paperEqual(paperNormal(text), paperNormal(gold)), extracted: text, found }
}

/**
 * Order: Minerva's sentence, text after the last `boxed`, "the answer is", else the last number.
 */
function paperAnswer(completion: string): Extracted {
  const minerva = /final answer is \$([\s\S]*?)\$\. I hope/.exec(completion)
  if (minerva) return { text: minerva[1]!, found: "stated" }
  if (completion.includes("boxed")) {
    const boxes = boxedGroups(completion)
    if (boxes !== "cut off" && boxes.length > 0) {
      return { text: boxes.at(-1)!.content, found: "boxed" }
    }
    const after = completion.slice(completion.lastIndexOf("boxed") + "boxed".length)
    return { text: after.split("$")[0]!.replace(/^\{/, "").trim(), found: "boxed" }
  }
  for (const phrase of ["he answer is", "final answer is", "答案是"]) {
    const at = completion.lastIndexOf(phrase)
    if (at < 0) continue
    const rest = completion.slice(at + phrase.length, at + phrase.length + 2_000)
    return { text: rest.split(/\n|\.\s|\.$/, 1)[0]!.trim(), found: "stated" }
  }
  const numbers = completion
    .slice(-20_000)
    .replace(/,/g, "")
    .match(/-?\d*\.?\d+/g)
  return { text: numbers?.at(-1) ?? "", found: "last number" }
}

function paperNormal(text: string): string {
  const bare = takeUnit(normalizeLatex(text.replace(/\$/g, ""))).text
  const value = bare.replace(/^[a-zA-Z]\w{0,2}\s*=\s*(?=\S)/, "")
  return value
    .replace(/\\(?:text|mathrm|mbox)\s*\{([^{}]*)\}/g, "$1")
    .replace(/(\d),(?=\d{3}(?!\d))/g, "$1")
    .replace(/(\d+)\.0+(?!\d)/g, "$1")
    .replace(/^\{([^{}]*)\}$/, "$1")
    .replace(/\bj\b/g, "i")
    .replace(/\s+/g, " ")
    .trim()
}

const RELATIVE = 1e-4

function paperEqual(answer: string, gold: string): Judgement {
  const [a, b] = [answer, gold].map((side) => side.replace(/\s/g, ""))
  if (a === "") return { equal: false, reason: "the answer is empty" }
  if (a!.toLowerCase() === b!.toLowerCase()) return { equal: true, reason: "the same text" }
  const [x, y] = [plainNumber(a!), plainNumber(b!)]
  if (x !== undefined && y !== undefined) return compareLoosely(x, y)
  return compareParts(answer, gold) ?? compareSymbols(answer, gold)
}

function plainNumber(text: string): number | undefined {
  const percent = text.endsWith("%")
  const digits = text.replace(/\\?%$/, "")
  if (!/^-?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(digits)) return undefined
  return Number(digits) / (percent ? 100 : 1)
}

function compareLoosely(answer: number, gold: number): Judgement {
  for (const [factor, name] of [
    [1, "gold"],
    [0.01, "gold / 100"],
    [100, "100 * gold"],
  ] as const) {
    const target = gold * factor
    if (Math.abs(answer - target) <= RELATIVE * Math.abs(target)) {
      return { equal: true, reason: `within ${RELATIVE} relative of ${name}` }
    }
  }
  return { equal: false, reason: `${answer} is not near ${gold}, ${gold}/100 or 100*${gold}` }
}

/** Tuples, intervals and sets element by element, in order, whatever the brackets' kind. */
function compareParts(answer: string, gold: string): Judgement | undefined {
  if (!isEnclosed(answer) || !isEnclosed(gold)) return undefined
  const items = (text: string): string[] => {
    const inner = text.replace(/^\\?[{([]/, "").replace(/\\?[})\]]$/, "")
    return splitTopLevel(inner, (at) => (inner[at] === "," ? 1 : 0)).map((item) => item.trim())
  }
  const [a, b] = [items(answer), items(gold)]
  if (a.length < 2 || a.length !== b.length || a.length > 64) return undefined
  const wrong = a.findIndex((item, i) => !paperEqual(item, b[i]!).equal)
  return wrong < 0
    ? { equal: true, reason: "equal element by element" }
    : { equal: false, reason: `element ${wrong + 1} differs` }
}

/** `a = b` is compared as `a - b`, up to sign; then symbolically, within the tolerance. */
function compareSymbols(answer: string, gold: string): Judgement {
  const [x, y] = [movedSides(answer), movedSides(gold)].map(parseExpression)
  if (!x || !y) return { equal: false, reason: "not the same text, and not both readable" }
  const [rowsX, rowsY] = [matrixOf(x), matrixOf(y)]
  if (Array.isArray(rowsX) && Array.isArray(rowsY)) {
    const same =
      rowsX.length === rowsY.length &&
      rowsX.every(
        (row, i) =>
          row.length === rowsY[i].length &&
          row.every(
            (cell: typeof x, j: number) =>
              compareScalars(cell, rowsY[i][j], { lenient: true }).equal,
          ),
      )
    return { equal: same, reason: same ? "equal entry by entry" : "different matrices" }
  }
  const direct = compareScalars(x, y, { lenient: true })
  if (direct.equal || !answer.includes("=")) return { ...direct, equal: direct.equal === true }
  const flipped = compareScalars(
    {
      op: "multiply",
      args: [x, { op: "number", numerator: -1n, denominator: 1n, decimal: false }],
    },
    y,
    { lenient: true },
  )
  return { ...flipped, equal: flipped.equal === true }
}

function movedSides(text: string): string {
  const sides = text.split("=")
  return sides.length === 2 ? `(${sides[0]})-(${sides[1]})` : text
}
