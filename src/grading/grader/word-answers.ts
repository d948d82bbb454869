import { type Answer, infinity, scalar } from "./answer.ts"
import { no, type Rules, yes } from "./judgement.ts"
import { parseExpression } from "./math-expression.ts"
import type { Judgement } from "./scalar.ts"
import { folded, leadingWord, numberOfWords, saidOf } from "./words.ts"

/** Choices and words against each other. */

/** A letter of a multiple choice, alone or before its text: `C`, `(C)`, `C. x = 42`. */
export function compareChoices(gold: Answer, answer: Answer, rules: Rules): Judgement | undefined {
  const several = rules.lenient ? compareLetterSets(gold, answer) : undefined
  if (several) return several
  const [a, b] = [choiceOf(gold), choiceOf(answer)]
  if (!a || !b || (!a.alone && !b.alone)) return undefined
  if (
    a.alone &&
    b.alone &&
    (gold.kind !== "text" || answer.kind !== "text") &&
    a.letter !== b.letter
  ) {
    return undefined // perhaps variables
  }
  return a.letter === b.letter ? yes("the same choice") : no("another choice")
}

const unwrapped = (written: string): string =>
  written.replace(/\\(?:text|textbf|textrm|mathrm|mathbf)\s*\{([^{}]*)\}/g, "$1").trim()

function choiceOf({ written }: Answer): { letter: string; alone: boolean } | undefined {
  const text = unwrapped(written)
  const alone = /^\{?\(?([A-J])[).]?\}?$/.exec(text)
  if (alone) return { letter: alone[1]!, alone: true }
  const labelled = /^(?:\{?\(([A-J])\)\}?|([A-J])(?:[.):]|\s+-(?=\s)))\s*\S/.exec(text)
  return labelled ? { letter: (labelled[1] ?? labelled[2])!, alone: false } : undefined
}

/** `AC` and `A, C`: letters of a choice with several right answers. */
function compareLetterSets(gold: Answer, answer: Answer): Judgement | undefined {
  const letters = (side: Answer): string | undefined => {
    const text = unwrapped(side.written).replace(/[\s,;()&]|\band\b/g, "")
    return /^[A-J]{2,6}$/.test(text) && new Set(text).size === text.length ? text : undefined
  }
  const [a, b] = [letters(gold), letters(answer)]
  if (a === undefined || b === undefined || (gold.kind === "list") === (answer.kind === "list")) {
    return undefined
  }
  return [...a].sort().join() === [...b].sort().join() ? yes("the same choices") : undefined
}

/** Number words and infinities as values; other words as they are. */
export function valueOfWords(answer: Answer): Answer {
  if (answer.kind !== "text") return answer
  const meaning = folded(answer.words)
  if (meaning === "infinity") return infinity(1)
  if (meaning === "-infinity") return infinity(-1)
  const digits = numberOfWords(answer.words)
  const value = digits === undefined ? undefined : parseExpression(digits)
  return value === undefined ? answer : scalar(value, digits!)
}

const DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]

export function compareWords(gold: Answer, answer: Answer, { lenient }: Rules): Judgement {
  const [a, b] = [gold, answer].map((side) => wordsOf(side, lenient)) as [string, string]
  if (a === b && a !== "") return yes("the same words")
  if (lenient && listed(gold) !== undefined && listed(gold) === listed(answer)) {
    return yes("the same words, in another order")
  }
  if (lenient && answer.kind === "text") {
    const first = leadingWord(answer.words)
    if (first !== undefined && first === a) return yes("the same word, with reasons")
    const said = saidOf(answer.words)
    if (said !== undefined && simplified(said, lenient) === a) return yes("what the sentence says")
  }
  return no("different words")
}

/** `red, blue and green` in one order; undefined for words that are no list. */
function listed(answer: Answer): string | undefined {
  if (answer.kind !== "text" || !/,|\band\b/.test(answer.words)) return undefined
  const parts = answer.words
    .split(/\s*(?:,\s*and\b|,|\band\b)\s*/)
    .map((part) => simplified(part, true))
  return parts.length < 2 ? undefined : parts.sort().join(",")
}

const wordsOf = (answer: Answer, lenient: boolean): string =>
  simplified(answer.kind === "text" ? answer.words : answer.written, lenient)

function simplified(text: string, lenient: boolean): string {
  const words = text
    .replace(/[.,;:!?"()\\{}$]|(?<![a-z])'|'(?![a-z])/gi, " ")
    .replace(/\s+/g, " ")
    .trim()
  if (!lenient) return words
  const meaning = folded(words)
  const day = meaning.length >= 3 ? DAYS.find((name) => name.startsWith(meaning)) : undefined
  return day ?? meaning
}
