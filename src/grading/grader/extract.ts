import { boxedGroups, filledBoxes, joinedBoxes, withTrailingUnit } from "./boxes.ts"
import { bracesBalance } from "./brackets.ts"
import {
  contentOf,
  firstClause,
  lastStatement,
  MATH,
  startsAsValue,
  WITHDRAWN,
  withoutMarkdown,
} from "./stated.ts"
import { beforeQuestions, ownTurn } from "./turn.ts"
import { changesValue, leadingWord, meansNothing, numberOfWords } from "./words.ts"

/** How an answer was found in a text, in falling order of trust. */
export type Found =
  | "boxed" // the last \boxed{}
  | "boxes" // several \boxed{} in one sentence
  | "hash" // GSM8K's ####
  | "stated" // "the answer is ..."
  | "whole" // the text is nothing but an answer
  | "sentence" // fallback: what the only sentence says
  | "last math" // fallback: the last $...$
  | "last number" // fallback: the last number of the text

export interface Extracted {
  readonly text: string
  readonly found: Found
}

/** Ways of finding that a strict grader accepts: the writer marked the answer as such. */
export const MARKED: readonly Found[] = ["boxed", "boxes", "hash", "stated", "whole"]

/**
 * Finds the answer in a text.
 *
 * @param several the gold answer is a list, so `\boxed{1} and \boxed{2}` may be one answer.
 * @returns undefined when there is none, or when the last `\boxed{` was cut off.
 */
export function extractAnswer(text: string, several: boolean): Extracted | undefined {
  const turn = ownTurn(text)
  for (const part of beforeQuestions(turn)) {
    const found = markedAnswer(part, several)
    if (found === "cut off") return undefined
    if (found) return found
  }
  return said(turn) ?? lastMath(turn) ?? lastNumber(turn)
}

const filled = (text: string, found: Found): Extracted | undefined =>
  text.trim() === "" ? undefined : { text: text.trim(), found }

function markedAnswer(text: string, several: boolean): Extracted | "cut off" | undefined {
  const boxes = filledBoxes(text)
  if (boxes === "cut off") return "cut off"
  const last = boxes.at(-1)
  if (last) {
    // a label behind the last box takes its place where it names a choice and the box does not
    const statement = lastStatement(text.slice(last.end))
    if (
      statement?.label &&
      /^\(?[A-J]\)?$/.test(statement.text) &&
      !/^\W*(?:\\\w+\{)*\(?[A-J]\)?/.test(last.content)
    ) {
      return filled(statement.text, "stated")
    }
    const joined = several ? joinedBoxes(text, boxes) : undefined
    if (joined !== undefined) return { text: joined, found: "boxes" }
    return filled(withTrailingUnit(text, last), "boxed")
  }
  const statement = lastStatement(text)
  return hash(text) ?? (statement && filled(statement.text, "stated")) ?? whole(text)
}

/** After GSM8K's last `####`; a markdown heading of four signs is none. */
function hash(text: string): Extracted | undefined {
  const lines = [...text.matchAll(/####\s*([^\n]*)/g)].reverse()
  for (const [, line = ""] of lines) {
    if (line.trim() === "") continue
    if (
      /^(?:\d+[.)]\s+)?\**(?:step|final|answer|solution|conclusion|explanation|part|case|method|check|verification|summary)\b/i.test(
        line,
      )
    )
      continue
    return filled(firstClause(withoutMarkdown(line)).clause, "hash")
  }
  return undefined
}

/** Words that a bare answer does not hold: with one of them the text is a sentence. */
const SENTENCE =
  /(?<![a-z\\])(?:is|are|was|were|it|it's|we|i|he|she|they|this|that|there|so|thus|hence|therefore|then|get|gets|got|gives|give|has|have|had|makes|make|find|found|equals?|means|becomes|let|if|because|since|of the|total of|by|must|can|will|would|answer|result)(?![a-z])/i

/** A short text that is an answer and nothing else; sentences are not. */
function whole(source: string): Extracted | undefined {
  const text = withoutMarkdown(source).trim()
  if (text.length > MAX_WHOLE || /\n\s*\n/.test(text)) return undefined
  if (!bracesBalance(text)) return undefined
  const single = /^\S+$/.test(text) || /^\$[^$]*\$\.?$/.test(text)
  const outside = text
    .replace(/\\(?:text|textbf|textrm|mathrm|mbox|begin|end)\s*\{[^{}]*\}/g, " ")
    .replace(/\$[^$]*\$|\\\([\s\S]*?\\\)|\\\[[\s\S]*?\\\]/g, " ")
    .replace(/\\[a-zA-Z]+\*?/g, " ")
  if (
    /[^\p{ASCII}]/u.test(outside) &&
    /(?!\p{Script=Greek})\p{L}/u.test(outside.replace(/[A-Za-z或和及与]/g, ""))
  ) {
    return /^[-\d.,]+\s*\p{L}{1,3}[.。]?$/u.test(text) ? filled(text, "whole") : undefined
  }
  if (single) return filled(text, "whole")
  const words = outside.match(/[A-Za-z']{2,}/g) ?? []
  if (text.length > 300 && words.length > 0) return undefined
  if (leadingWord(text) !== undefined || LABELLED_CHOICE.test(text)) return filled(text, "whole")
  if (words.length === 0 || numberOfWords(text) !== undefined) return filled(text, "whole")
  if (SENTENCE.test(outside)) return undefined
  const prose = words.filter((word) => !FUNCTION_WORDS.test(word))
  const leads = /^(?:[-+±.]?\s*[$€£]?\d|[$\\([{|√-])/u.test(text)
  if (leads) return words.length <= 6 ? filled(firstClause(text).clause, "whole") : undefined
  if (/\d/.test(text))
    return prose.length === 0 || /^[a-z](?:_\d+)?\s*[=<>]/i.test(text)
      ? filled(text, "whole")
      : undefined
  const long = words.filter((word) => word.length >= 3)
  return long.length <= 1 || meansNothing(text) ? filled(text, "whole") : undefined
}

const MAX_WHOLE = 2_000
const LABELLED_CHOICE = /^\(?[A-J][.):]\s+\S/

const FUNCTION_WORDS =
  /^(?:ln|pi|log|sin|cos|tan|sqrt|and|or|percent|percentage|pct|infinity|mod)$/i

/** A short text of one sentence says what stands behind its verb. */
function said(source: string): Extracted | undefined {
  const text = withoutMarkdown(source).trim()
  if (text.length > 160 || /\n/.test(text) || /[.!?]\s+[A-Z]/.test(text)) return undefined
  const denial = /\b(?:does not|doesn't) exist\.?$|\bno (?:real )?solutions?\.?$/i.exec(text)
  if (denial) return filled(denial[0], "sentence")
  const verb =
    /^([\s\S]*(?<![A-Za-z])(?:is|are|equals?|gives|get|got|was|makes|'s|becomes|has|have|had))\s+(?:only\s+|exactly\s+)?(\S[\s\S]*)$/i.exec(
      text,
    )
  if (!verb) return undefined
  const { clause, after } = firstClause(verb[2]!)
  if (/^\s*\?/.test(after) || WITHDRAWN.test(after)) return undefined
  const value = clause.trim()
  if (/\b(?:not|n't|never|no)\b/i.test(verb[1]!) || changesValue(value)) return undefined
  const words = value.match(/[A-Za-z]{2,}/g) ?? []
  if (startsAsValue(value)) {
    return !/answer|solution|result/i.test(value) && words.length <= 8
      ? filled(value, "sentence")
      : undefined
  }
  if (/\b(?:answer|solution|result|required|desired|correct|true)\b/i.test(value)) return undefined
  if (/[\d$\\]/.test(value)) return undefined
  return words.length > 0 && words.length <= 3 ? filled(value, "sentence") : undefined
}

function lastMath(text: string): Extracted | undefined {
  const tail = text.slice(-20_000)
  let last: RegExpExecArray | undefined
  for (const match of tail.matchAll(MATH)) {
    const words = contentOf(match).replace(/\\text\{[^{}]*\}/g, "")
    // between two dollar amounts there is prose, not mathematics
    if (!/(?<![\\{a-zA-Z])[A-Za-z]{3,}\s+[A-Za-z]{2,}/.test(words)) last = match
  }
  if (!last) return undefined
  const after = tail.slice(last.index + last[0].length)
  const multiplier = /^\s*(dozen|hundred|thousand|million|billion|trillion)\b/.exec(after)
  const content = contentOf(last).replace(/^[\s\S]*\\\$\s*=/, "") // a dollar ends what is before it
  return filled(multiplier ? `${content}\\text{ ${multiplier[1]}}` : content, "last math")
}

const NUMBER = "(?:\\d{1,3}(?:,\\d{3})+|\\d+)(?:[.,]\\d+)?|\\.\\d+"
const TERM = `(?:√\\s*)?(?:[A-Za-z]\\^|0[xbo])?(?:${NUMBER})(?:√\\s*\\d+|!)?`
const OPERATOR = "\\s*(?:[*×·÷^]|\\\\times|\\\\cdot)\\s*|[/]|\\s\\/\\s|[-+](?=\\d)"
const NUMBERS = new RegExp(
  `(?:(?<![\\w)\\]])-)?(?:${TERM})(?:(?:${OPERATOR})(?:${TERM}))*(?:\\s*\\\\?%)?(?:\\s*(?:dozen|hundred|thousand|million|billion|trillion)(?![a-z])|[百千万亿億萬])*`,
  "g",
)

/** The last number of the text, with the product, power or fraction that it ends. */
function lastNumber(text: string): Extracted | undefined {
  const tail = withoutMarkdown(text.slice(-20_000))
  const last = [...tail.matchAll(NUMBERS)].at(-1)
  if (!last) return undefined
  const before = tail.slice(Math.max(0, last.index - 24), last.index)
  if (
    /(?:\bbase|(?:\b(?:not|no|cannot)|n't)(?:\s+(?:be|equal))?|不是|不等于|\bnicht|\bno es)\s*$/i.test(
      before,
    )
  )
    return undefined
  const after = tail.slice(last.index + last[0].length)
  if (/^\s*(?:\?|(?:squared|cubed|factorial|(?:is|was) not|isn't)(?![a-z]))/i.test(after)) {
    return undefined
  }
  return { text: last[0].trim(), found: "last number" }
}

/**
 * `$...$`, `\(...\)` and `\[...\]` taken off, wherever they are: dollars before digits are money.
 */
export function unwrapMath(text: string): string {
  return text
    .replace(/^(\s*\$?\s*-?\s*)\\\$(?=\s*[\d.])/, "$1USD ")
    .replace(/\\(?:text|mathrm)\s*\{\s*\\?\$\s*\}/g, "")
    .replace(/\\\$/g, " ")
    .replace(/\$/g, "")
    .replace(/(?<!\\)\\[[\]()](?![a-zA-Z])/g, "")
    .replace(/\\?\\(?:boxed|fbox|framebox)\s*\{((?:[^{}]|\{[^{}]*\})*)\}/g, "$1")
}

/**
 * The gold answer in what a data set calls the answer: a bare value, `#### 72`, `\boxed{}`,
 * `$...$`, or a worked solution that ends in one. Without a mark a gold is a gold, whatever its
 * length.
 */
export function goldText(answer: string): Extracted | undefined {
  const text = answer.trim()
  const boxes = boxedGroups(text)
  if (boxes === "cut off") {
    const open = text.lastIndexOf("boxed{")
    return filled(text.slice(open + "boxed{".length), "boxed")
  }
  if (boxes.length > 0) {
    const joined = joinedBoxes(text, boxes)
    return joined
      ? { text: joined, found: "boxes" }
      : filled(withTrailingUnit(text, boxes.at(-1)!), "boxed")
  }
  const at = text.lastIndexOf("####")
  if (at >= 0) return filled(text.slice(at + 4), "hash")
  if (text.length <= 300 || !/[.!?]\s+[A-Z]/.test(text)) return filled(text, "whole")
  const statement = lastStatement(text)
  return statement ? filled(statement.text, "stated") : filled(text, "whole")
}
