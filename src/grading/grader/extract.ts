import { bracesBalance, trimPunctuation } from "./latex.ts"

/** How an answer was found in a text, in falling order of trust. */
export type Found =
  | "boxed" // the last \boxed{}
  | "boxes" // several \boxed{} in one sentence
  | "hash" // GSM8K's ####
  | "stated" // "the answer is ..."
  | "whole" // the text is nothing but an answer
  | "last math" // fallback: the last $...$
  | "last number" // fallback: the last number of the text

export interface Extracted {
  readonly text: string
  readonly found: Found
}

/** Ways of finding that a strict grader accepts: the writer marked the answer as such. */
export const MARKED: readonly Found[] = ["boxed", "boxes", "hash", "stated", "whole"]

const MAX_TEXT = 200_000
const TURN_END = /<\|(?:im_end|im_start|endoftext|eot_id|end_of_text)\|>/

/** The part of a completion in which the answer is looked for: its own turn, after any thinking. */
export function answerRegion(completion: string): string {
  const turn = completion.slice(-MAX_TEXT).split(TURN_END, 1)[0]!
  const thought = turn.lastIndexOf("</think>")
  const after = thought < 0 ? "" : turn.slice(thought + "</think>".length)
  return after.trim() === "" ? turn : after
}

/**
 * Finds the answer in a text.
 *
 * @param several the gold answer is a list, so `\boxed{1} and \boxed{2}` may be one answer.
 * @returns undefined when there is none, or when the last `\boxed{` was cut off.
 */
export function extractAnswer(text: string, several: boolean): Extracted | undefined {
  const region = answerRegion(text)
  const boxes = boxedGroups(region)
  if (boxes === "cut off") return undefined
  if (boxes.length > 0) {
    const last = boxes.at(-1)!
    const joined = several ? joinedBoxes(region, boxes) : undefined
    if (joined !== undefined) return { text: joined, found: "boxes" }
    return filled(withTrailingUnit(region, last), "boxed")
  }
  const hash = region.lastIndexOf("####")
  if (hash >= 0)
    return filled(
      region
        .slice(hash + 4)
        .trim()
        .split("\n", 1)[0]!,
      "hash",
    )
  return stated(region) ?? whole(region) ?? lastMath(region) ?? lastNumber(region)
}

const filled = (text: string, found: Found): Extracted | undefined =>
  text.trim() === "" ? undefined : { text: text.trim(), found }

interface Box {
  readonly start: number
  readonly end: number
  readonly content: string
}

const BOX = /\\?\\(?:boxed|fbox|framebox)(?![a-zA-Z])\s*/g

/** All boxes in order; a last one that never closes means that the text was cut off. */
export function boxedGroups(text: string): readonly Box[] | "cut off" {
  const boxes: Box[] = []
  for (const match of text.matchAll(BOX)) {
    const start = match.index
    const open = start + match[0].length
    if (start < (boxes.at(-1)?.end ?? 0)) continue // nested: the outer one holds it
    if (text[open] !== "{") {
      const token = /^\s*(\\[a-zA-Z]+(?:\{[^{}]*\})*|[^\s{}$\\])/.exec(text.slice(open, open + 200))
      if (token) boxes.push({ start, end: open + token[0].length, content: token[1]! })
      continue
    }
    const close = closingBrace(text, open)
    if (close === undefined) return "cut off"
    boxes.push({ start, end: close + 1, content: text.slice(open + 1, close) })
  }
  return boxes
}

function closingBrace(text: string, open: number): number | undefined {
  let depth = 0
  for (let i = open; i < text.length; i++) {
    const c = text[i]
    if (c === "\\") i++
    else if (c === "{") depth++
    else if (c === "}" && --depth === 0) return i
  }
  return undefined
}

/** `\boxed{5} \text{ cm}` and `\boxed{5}\%`: the sign belongs to the answer. */
function withTrailingUnit(text: string, box: Box): string {
  const percent = /^\s*\$?\s*\\?%/.test(text.slice(box.end, box.end + 10))
  return percent ? `${box.content}\\%` : box.content
}

const GAP_LIMIT = 40

/** Boxes that follow one another with only a few words between, as one comma list. */
function joinedBoxes(text: string, boxes: readonly Box[]): string | undefined {
  let first = boxes.length - 1
  while (first > 0) {
    const gap = text.slice(boxes[first - 1]!.end, boxes[first]!.start)
    if (gap.length > GAP_LIMIT || /[.!?]\s+[A-Z]|\n\s*\n|=/.test(gap.replace(/\$\$/g, ""))) break
    first--
  }
  if (first === boxes.length - 1) return undefined
  return boxes
    .slice(first)
    .map(({ content }) => content)
    .join(" , ")
}

const STATED =
  /(?:final\s+answer|answer|result)\s*(?:\([^()]{0,40}\)\s*)?(?:is|are|:|=)\s*:?\s*(?:\*\*)?\s*(?:given by\s*)?/gi

function stated(text: string): Extracted | undefined {
  let end = -1
  for (const match of text.matchAll(STATED)) end = match.index + match[0].length
  if (end < 0) return undefined
  const rest = text.slice(end, end + 400).replace(/\*\*/g, "")
  const sentence = rest
    .trimStart()
    .split(/\n\s*\n|\n(?![^$]*\$\$)|\.\s+(?=[A-Z])|\.\s*$|\s+I hope/, 1)[0]!
  const math =
    /^[\s:*(]{0,20}(?:[A-Za-z]\s*=\s*)?(?:\$\$?([\s\S]+?)\$|\\\[([\s\S]+?)\\\]|\\\(([\s\S]+?)\\\))/.exec(
      rest,
    )
  if (math) return filled(withPercent(rest, math), "stated")
  return filled(valueOfSentence(trimPunctuation(sentence)), "stated")
}

/** "the answer is the number of pairs, which is $19$": prose around a value is left out. */
function valueOfSentence(sentence: string): string {
  const prose = sentence.replace(/\$[^$]*\$|\\[a-zA-Z]+/g, " ").match(/[A-Za-z]{3,}/g) ?? []
  const after = /^.*\b(?:is|are|equals?)\s+(\S.*)$/s.exec(sentence)
  if (after) return valueOfSentence(after[1]!)
  if (prose.length <= PROSE_WORDS) return sentence
  return (lastNumber(sentence) ?? lastMath(sentence))?.text ?? sentence
}

function withPercent(rest: string, math: RegExpExecArray): string {
  const content = (math[1] ?? math[2] ?? math[3])!
  return /^\$?\s*(?:\\?%|percent)/.test(rest.slice(math[0].length)) ? `${content}\\%` : content
}

const PROSE_WORDS = 3

/** A short text that is an answer and nothing else; sentences are not. */
function whole(text: string): Extracted | undefined {
  const trimmed = text.trim()
  if (trimmed.length > 300 || /\n\s*\n/.test(trimmed)) return undefined
  const words = trimmed
    .replace(/\\(?:text|textbf|textrm|mathrm|mbox|begin|end)\s*\{[^{}]*\}/g, " ")
    .replace(/\\[a-zA-Z]+\*?/g, " ")
  const outside = words.replace(/\$[^$]*\$/g, " ").match(/[A-Za-z]{3,}/g) ?? []
  const prose = outside.filter((word) => !/^(?:and|or|percent|percentage|pct)$/i.test(word))
  if (
    prose.length > (/^\S+$/.test(trimmed) || /^\$[^$]*\$$/.test(trimmed) ? 99 : PROSE_WORDS - 2)
  ) {
    return undefined
  }
  // "Answer \[ 9 \]", "so 0.5": a word before the value is a sentence's
  if (/^(?!(?:ln|pi|log|sin|cos|tan|sqrt)\b)[A-Za-z]{2,}\s*:?\s+[-\d.$\\]/.test(trimmed))
    return undefined
  return bracesBalance(trimmed) ? filled(trimmed, "whole") : undefined
}

const MATH = /\$\$([^$]+)\$\$|(?<!\\)\$((?:\\\$|[^$])+)\$|\\\[([\s\S]+?)\\\]|\\\(([\s\S]+?)\\\)/g

function lastMath(text: string): Extracted | undefined {
  const tail = text.slice(-20_000)
  let last: RegExpExecArray | undefined
  for (const match of tail.matchAll(MATH)) {
    const content = match[1] ?? match[2] ?? match[3] ?? match[4] ?? ""
    // between two dollar amounts there is prose, not mathematics
    if (
      !/(?<![\\{a-zA-Z])[A-Za-z]{3,}\s+[A-Za-z]{2,}/.test(content.replace(/\\text\{[^{}]*\}/g, ""))
    ) {
      last = match
    }
  }
  if (!last) return undefined
  return filled((last[1] ?? last[2] ?? last[3] ?? last[4])!, "last math")
}

function lastNumber(text: string): Extracted | undefined {
  const numbers = text
    .slice(-20_000)
    .match(/-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:[.,]\d+)?(?:\/\d+)?|-?\.\d+/g)
  return numbers ? { text: numbers.at(-1)!, found: "last number" } : undefined
}

/** `$...$`, `\(...\)` and `\[...\]` taken off, wherever they are: dollars before digits are money. */
export function unwrapMath(text: string): string {
  return text
    .replace(/\\\$/g, " ")
    .replace(/\$/g, "")
    .replace(/(?<!\\)\\[[\]()](?![a-zA-Z])/g, "")
    .replace(/\\?\\(?:boxed|fbox|framebox)\s*\{((?:[^{}]|\{[^{}]*\})*)\}/g, "$1")
}

/**
 * The gold answer in what a data set calls the answer: a bare value, `#### 72`, `\boxed{}`, `$...$`,
 * or a worked solution that ends in one.
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
  const hash = text.lastIndexOf("####")
  if (hash >= 0) return filled(text.slice(hash + 4), "hash")
  if (text.length <= 300) return filled(text, "whole")
  return stated(text) ?? lastMath(text) ?? lastNumber(text) ?? filled(text, "whole")
}
