import { MODES, type Mode } from "../modes.ts"
import type { Answer } from "./answer.ts"
import { bracesBalance } from "./brackets.ts"
import { compareAnswers } from "./compare.ts"
import { extractAnswer, type Found, goldText, MARKED } from "./extract.ts"
import { normalizeLatex } from "./latex.ts"
import { gradeLikePaper } from "./paper.ts"
import { MAX_ANSWER_LENGTH, type Reading, readAnswer } from "./read-answer.ts"
import type { Judgement } from "./scalar.ts"

export { MODES, type Mode }

/** Raised whenever some verdict changes. */
export const GRADER_VERSION = "2"

/** A judgement of one completion and how it was reached. */
export interface Verdict {
  readonly correct: boolean
  /** False where neither equal nor different could be shown; such an answer is not correct. */
  readonly decided: boolean
  /** The answer found in the completion; null when there is none. */
  readonly extracted: string | null
  /** How it was found. */
  readonly found: Found | "nothing"
  /** The gold answer as found in the data; null when there is none. */
  readonly gold: string | null
  readonly reason: string
  readonly mode: Mode
  /** What the strict and the lenient mode say, side by side. */
  readonly strict: boolean
  readonly lenient: boolean
  readonly version: string
}

/** What a data set may give as gold; several alternatives must all be found (a list answer). */
export type Gold = string | number | boolean | readonly (string | number)[] | null | undefined

export function goldString(gold: Gold): string | undefined {
  if (gold === null || gold === undefined) return undefined
  if (Array.isArray(gold)) return gold.length === 0 ? undefined : gold.map(String).join(" , ")
  return String(gold)
}

/**
 * Grades one completion against its gold answer: finds both answers, reads them, compares.
 * Runs in this thread without a time limit: hostile text belongs in a {@link Grader}.
 */
export function gradeUnbounded(completion: string, gold: Gold, mode: Mode): Verdict {
  const goldSource = goldString(gold)
  const expected = goldSource === undefined ? undefined : goldText(goldSource)
  if (expected === undefined)
    return verdict(mode, "nothing", null, null, undecided("no gold answer"))
  const extracted = sameText(completion, goldSource)
    ? { text: expected.text, found: "whole" as const }
    : extractAnswer(completion, isSeveral(expected.text))
  if (extracted === undefined) {
    return verdict(mode, "nothing", null, expected.text, no("no answer found in the completion"))
  }
  const bare = compareTexts(expected.text, extracted.text)
  const marked = MARKED.includes(extracted.found)
  const strict = marked
    ? bare.strict
    : no(`the answer is not marked: it was found as the ${extracted.found}`)
  const lenient = marked
    ? bare.lenient
    : { ...bare.lenient, reason: `${bare.lenient.reason} (found as the ${extracted.found})` }
  const paper = mode === "paper" ? gradeLikePaper(completion, expected.text) : undefined
  const judged = paper?.judgement ?? (mode === "strict" ? strict : lenient)
  return {
    ...verdict(
      mode,
      paper?.found ?? extracted.found,
      paper?.extracted ?? extracted.text,
      expected.text,
      judged,
    ),
    strict: strict.equal === true,
    lenient: lenient.equal === true,
  }
}

/** A gold answer repeated to the letter, and no worked solution with a mark in it. */
const sameText = (completion: string, gold: string | undefined): boolean =>
  completion.trim() === gold?.trim() && !/boxed|####/.test(completion)

/** Both modes' judgements of two bare answers. Whatever is strictly equal is leniently equal. */
export function compareTexts(
  gold: string,
  answer: string,
): { strict: Judgement; lenient: Judgement } {
  const refused = refusal(answer)
  if (refused !== undefined) return { strict: no(refused), lenient: no(refused) }
  const primary: Reading = { thousands: true, decimalComma: false }
  const [a, b] = [readAnswer(gold, primary), readAnswer(answer, primary)]
  const strict = compareAnswers(a, b, { lenient: false })
  if (strict.equal) return { strict, lenient: strict }
  const lenient = compareAnswers(a, b, { lenient: true })
  if (lenient.equal) return { strict, lenient }
  return { strict, lenient: otherReading(gold, answer, a, b) ?? lenient }
}

/** `1,22` may be a decimal, `1,234` a list: leniently, one side is read the other way. */
function otherReading(gold: string, answer: string, a: Answer, b: Answer): Judgement | undefined {
  const others: readonly Reading[] = [
    { thousands: true, decimalComma: true },
    { thousands: false, decimalComma: false },
  ]
  for (const reading of others) {
    for (const [x, y] of [
      [readOtherwise(gold, reading), b],
      [a, readOtherwise(answer, reading)],
    ]) {
      if (!x || !y) continue
      const judged = compareAnswers(x, y, { lenient: true })
      if (judged.equal) {
        const how = reading.decimalComma
          ? "a comma read as a decimal point"
          : "commas read as a list"
        return { equal: true, reason: `${how}: ${judged.reason}` }
      }
    }
  }
  return undefined
}

function readOtherwise(text: string, reading: Reading): Answer | undefined {
  const ambiguous = reading.decimalComma
    ? /^\D*(?:\d{2,},\d{1,2}|\d+,\d{2}|0,\d+|\d+,\d{4,}|\d{1,3}(?: \d{3})+)\D*$/.test(text)
    : /\d,\d{3}/.test(text)
  return ambiguous ? readAnswer(text, reading) : undefined
}

/** Answers that are never correct, whatever the gold is. */
function refusal(answer: string): string | undefined {
  if (answer.length > MAX_ANSWER_LENGTH) {
    return `the answer has ${answer.length} characters (at most ${MAX_ANSWER_LENGTH})`
  }
  if (answer.trim() === "" || normalizeLatex(answer) === "") return "the answer is empty"
  return bracesBalance(answer) ? undefined : "the answer's braces do not pair up"
}

const isSeveral = (gold: string): boolean => /[,;]|\\cup|\band\b|\bor\b|\\pm/.test(gold)
const no = (reason: string): Judgement => ({ equal: false, reason })
const undecided = (reason: string): Judgement => ({ equal: undefined, reason })

/** A verdict from one judgement; `strict` and `lenient` are false until set. */
export function verdict(
  mode: Mode,
  found: Verdict["found"],
  extracted: string | null,
  gold: string | null,
  { equal, reason }: Judgement,
): Verdict {
  return {
    correct: equal === true,
    decided: equal !== undefined,
    extracted,
    found,
    gold,
    reason,
    mode,
    strict: false,
    lenient: false,
    version: GRADER_VERSION,
  }
}
