import type { Answer, RelationOperator } from "./answer.ts"
import { readBased } from "./bases.ts"
import { isBraced, isEnclosed, splitTopLevel } from "./brackets.ts"
import { unwrapMath } from "./extract.ts"
import { normalizeLatex, plainWords, trimPunctuation } from "./latex.ts"
import { type MathExpression, parseExpression, rational } from "./math-expression.ts"
import { matrixOf } from "./matrix.ts"
import { readNamedSet } from "./number-line.ts"
import { takeUnit } from "./units.ts"
import { numberOfWords } from "./words.ts"

export const MAX_ANSWER_LENGTH = 2_000
const MAX_ITEMS = 200

export interface Reading {
  /** `1,234` at the top level is one number, not a list. */
  readonly thousands: boolean
  /** `1,25` is a decimal comma. */
  readonly decimalComma: boolean
}

/** Reads an answer, mathematics or words. Never throws; what cannot be read is `unreadable`. */
export function readAnswer(text: string, reading: Reading): Answer {
  return read(withoutLabel(normalizeLatex(unwrapMath(text))), reading, 0)
}

const LABEL =
  /^(?:\\(?:text|textbf|textrm|mathrm|mbox)\s*\{\s*)?(?:so\s+)?(?:the\s+)?(?:final\s+|correct\s+)?(?:(?:answer|ans|result|solution|total|value|number|sum)(?:\s+of\s+[^{}]{1,20})?(?:\s+is\s*:?|\s+equals|\s*[:=]|\.\s)|A\s*:\s|exactly|only|just|答案\s*(?:是|为|:)|答\s*:)\s*\}?\s*(?=\S)/i
const SAYING =
  /^(?:\\(?:text|textbf|textrm|mathrm|mbox)\s*\{\s*)?(?:there (?:is|are|were|will be)|(?:we|i) (?:get|got|have|find)|(?:it|this|that|which) (?:is|equals)|(?:a |the )?total (?:of|is))\s*\}?\s*(?=[-+.\d$\\(])/i
const CLOSING =
  /(?:\\(?:text|textbf|textrm|mathrm|mbox)\s*\{\s*)?(?:is|are)\s+(?:the|our|my)\s+(?:final\s+|correct\s+)?(?:answer|solution|result|value)s?[.!]?\s*\}?$/i
const LEADING =
  /^(?:\s|[=:]|\\(?:therefore|implies|Rightarrow|rightarrow|Longrightarrow|to|longrightarrow)(?![a-zA-Z]))+/

/** `Answer: 6`, `= 12`, `\\approx 12`, `12 is the answer`: what only says that it is the answer. */
function withoutLabel(text: string): string {
  const bare = text
    .replace(LEADING, "")
    .replace(LABEL, "")
    .replace(SAYING, "")
    .replace(CLOSING, "")
    .replace(LEADING, "")
    .replace(/^\\approx\s*/, "")
  return trimPunctuation(bare) === "" ? text : trimPunctuation(bare)
}

function read(text: string, reading: Reading, depth: number): Answer {
  const written = trimPunctuation(text)
  if (depth > 6 || written.length > MAX_ANSWER_LENGTH) return { kind: "unreadable", written }
  const next = (part: string): Answer => read(part, reading, depth + 1)
  const special = readNamedSet(written, next) ?? readBased(written)
  if (special) return special
  if (isWords(written)) return { kind: "text", written, words: plainWords(written) }
  const joined = joinNumbers(written, reading)
  return (
    readCongruence(joined, next) ??
    readList(joined, next) ??
    readUnion(joined, next) ??
    readBraced(joined, next) ??
    readRelation(joined, next, depth === 0) ??
    readBracketed(joined, next) ??
    readScalar(joined, written)
  )
}

const WORDS_ONLY =
  /^(?:\\(?:text|textbf|textit|textrm|textnormal|mathrm|mbox)\s*\{[^{}]*\}|[\s.,!?'"()-])+$/

/** Words: everything inside `\text{}`, or bare words that cannot be products of variables. */
function isWords(text: string): boolean {
  if (WORDS_ONLY.test(text) && /[a-zA-Z]/.test(text) && !/\d/.test(text)) return true
  if (numberOfWords(text) !== undefined) return true
  if (
    /^["'(]?(?:[A-Za-z]{4,}|[A-Z]{3}|[A-Z][a-z]{2}|[b-df-hj-np-tv-z][aeiou][b-df-hj-np-tv-z])["')]?$/.test(
      text,
    ) ||
    /^(?:odd|yes|no|mon|tue|wed|thu|fri|sat|sun)$/i.test(text)
  )
    return true
  return (
    /^[A-Za-z][A-Za-z'.,: -]*$/.test(text) && /[A-Za-z]{3,}\s+[A-Za-z]+|\s[A-Za-z]{3,}/.test(text)
  )
}

/** Digit groups: `1,234`, `1 234` and the like become one number, where the reading says so. */
function joinNumbers(text: string, { thousands, decimalComma }: Reading): string {
  if (decimalComma && /^-?\d+,\d+$/.test(text)) return text.replace(",", ".")
  if (decimalComma && /^-?\d{1,3}(?: \d{3})+$/.test(text)) return text.replace(/ /g, "")
  if (!thousands) return text
  return joinOutsideBrackets(text)
}

/** `(1,234)` stays a pair: only digits outside round, square and set brackets are joined. */
function joinOutsideBrackets(text: string): string {
  let depth = 0
  return text.replace(/\\[{}]|[()[\]]|(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d]|,\d)/g, (match) => {
    if (/^(?:\\\{|[([])$/.test(match)) depth++
    else if (/^(?:\\\}|[)\]])$/.test(match)) depth--
    else if (depth === 0) return match.replace(/,/g, "")
    return match
  })
}

const CONNECTOR =
  /^(?:\\(?:text|textrm|textnormal|mbox)\s*\{\s*,?\s*(?:and|or|&)\s*,?\s*\}|,|;|\\newline|\\&|\\(?:land|lor|wedge|vee)(?![a-zA-Z]))/

/** The width of a separator of list items at `at`, 0 for none. */
function connector(text: string, at: number): number {
  const c = text[at]!
  if (c === "," || c === ";" || /[或和及与]/.test(c)) return 1
  if (c === "\\") return CONNECTOR.exec(text.slice(at, at + 60))?.[0].length ?? 0
  if ((c !== "a" && c !== "o") || !/[\s\d})\]]/.test(text[at - 1] ?? "")) return 0
  // "1or2" is two values, "a and b" too; "\alpha and" is not cut inside the command
  return /^(?:and|or)(?![b-z])/.exec(text.slice(at, at + 4))?.[0].length ?? 0
}

function readList(text: string, next: (part: string) => Answer): Answer | undefined {
  const parts = splitTopLevel(text, (at) => connector(text, at))
    .map(trimPunctuation)
    .filter((part) => part !== "")
  if (parts.length < 2 || parts.length > MAX_ITEMS) return undefined
  const items = parts.map(next).flatMap((item) => (item.kind === "list" ? item.items : [item]))
  return { kind: "list", items, written: text }
}

function readUnion(text: string, next: (part: string) => Answer): Answer | undefined {
  const parts = splitTopLevel(text, (at) => (text.startsWith("\\cup", at) ? 4 : 0))
  if (parts.length < 2 || parts.length > MAX_ITEMS) return undefined
  return { kind: "union", items: parts.map(next), written: text }
}

/** `{1, 2}` in LaTeX is a bare list: braces only group. */
function readBraced(text: string, next: (part: string) => Answer): Answer | undefined {
  return isBraced(text) ? next(text.slice(1, -1)) : undefined
}

const MODULUS =
  /\s*(?:\\pmod\s*(?:\{([^{}]+)\}|(\w+))|\\mod\s*(?:\{([^{}]+)\}|(\w+))|\(\s*(?:\\(?:bmod|mod)|(?:\\(?:text|mathrm|operatorname)\s*\{)?\s*mod\s*\}?)\s*\{?([^{}()]+?)\}?\s*\))$/

/** `x \\equiv 5 \\pmod 7` and `5 (mod 7)`. */
function readCongruence(text: string, next: (part: string) => Answer): Answer | undefined {
  const match = MODULUS.exec(text)
  if (!match) return undefined
  const modulus = match.slice(1).find((group) => group !== undefined)!
  const sides = splitTopLevel(text.slice(0, match.index), (at) => {
    if (text.startsWith("\\equiv", at)) return "\\equiv".length
    return text[at] === "=" ? 1 : 0
  })
  const [first, last] = [sides[0]!, sides.at(-1)!]
  if (last.trim() === "") return undefined
  return {
    kind: "congruence",
    name: sides.length > 1 ? next(first) : undefined,
    value: next(last),
    modulus: next(modulus),
    written: text,
  }
}

const OPERATORS: readonly (readonly [string, RelationOperator | "\\approx"])[] = [
  ["\\approx", "\\approx"],
  ["\\equiv", "="],
  ["\\ne ", "\\ne"],
  ["\\le ", "\\le"],
  ["\\ge ", "\\ge"],
  ["\\in ", "\\in"],
  ["=", "="],
  ["<", "<"],
  [">", ">"],
]

/** `a = b = c`, `a < b`; what follows an approximation sign is dropped: the exact side counts. */
function readRelation(
  text: string,
  next: (part: string) => Answer,
  whole: boolean,
): Answer | undefined {
  const operators: (RelationOperator | "\\approx")[] = []
  const sides = splitTopLevel(text, (at) => {
    const found = OPERATORS.find(([spelling]) => text.startsWith(spelling, at))
    if (!found) return 0
    operators.push(found[1])
    return found[0].length
  })
  if (operators.length === 0 || operators.length > 8) return undefined
  const approximation = operators.indexOf("\\approx")
  const kept = approximation < 0 ? sides : sides.slice(0, approximation + 1)
  const exact = operators.slice(0, kept.length - 1) as RelationOperator[]
  const read = kept.map((side) => next(side))
  if (read.some(({ written }) => written === "")) return undefined
  const [name, estimate] = [read[0]!, sides[1]]
  if (exact.length === 0 && name.kind === "scalar" && name.value.op === "symbol") {
    return { kind: "relation", sides: [name, next(estimate!)], operators: ["="], written: text }
  }
  if (exact.length === 0) return name
  return (
    (whole ? namedOneByOne(read, exact) : undefined) ?? {
      kind: "relation",
      sides: read,
      operators: exact,
      written: text,
    }
  )
}

/** `(x, y) = (1, 2)` is x = 1 and y = 2. */
function namedOneByOne(
  sides: readonly Answer[],
  operators: readonly RelationOperator[],
): Answer | undefined {
  const [names, values] = sides
  if (operators.join() !== "=" || names?.kind !== "tuple" || values?.kind !== "tuple")
    return undefined
  const isVariable = (item: Answer): boolean => item.kind === "scalar" && item.value.op === "symbol"
  if (names.items.length !== values.items.length || !names.items.every(isVariable)) return undefined
  const items = names.items.map((name, i): Answer => {
    const value = values.items[i]!
    const written = `${name.written}=${value.written}`
    return { kind: "relation", sides: [name, value], operators: ["="], written }
  })
  return { kind: "list", items, written: items.map(({ written }) => written).join(" , ") }
}

/** `\\{x \\mid 0 \\le x\\}`: what holds of its members. */
const BUILDER =
  /^\s*[a-z](?:\s*\\in\s*(?:\\mathbb\s*\{?\s*R\s*\}?|\\R))?\s*(?:\\mid(?![a-zA-Z])|\||:)\s*(.+)$/s

function readBracketed(text: string, next: (part: string) => Answer): Answer | undefined {
  if (!isEnclosed(text)) return undefined
  const isSet = text.startsWith("\\{")
  const inner = isSet ? text.slice(2, -2) : text.slice(1, -1)
  const parts = splitTopLevel(inner, (at) => (inner[at] === "," || inner[at] === ";" ? 1 : 0))
  if (parts.length > MAX_ITEMS) return { kind: "unreadable", written: text }
  if (isSet) {
    if (!text.endsWith("\\}")) return undefined
    const condition = BUILDER.exec(inner)?.[1]
    if (condition !== undefined) return next(condition)
    return { kind: "set", items: inner.trim() === "" ? [] : parts.map(next), written: text }
  }
  if (parts.length < 2) return undefined // plain parentheses
  const items = parts.map(next)
  const round = text.startsWith("(") && text.endsWith(")")
  if (round || parts.length > 2) return { kind: "tuple", items, written: text }
  const open = [text.startsWith("("), text.endsWith(")")] as const
  return { kind: "interval", ends: [items[0]!, items[1]!], open, written: text }
}

function readScalar(text: string, written: string): Answer {
  const { text: bare, factor, ...measure } = takeUnit(text)
  const signs = expandSigns(bare)
  if (signs) {
    const values = signs.map((sign) => scalarOf(sign, sign, factor, measure))
    return { kind: "list", items: values, written }
  }
  return scalarOf(bare, written, factor, measure)
}

interface Measure {
  readonly unit: string
  readonly percent: boolean
  readonly degrees: boolean
}

function scalarOf(text: string, written: string, factor: number, measure: Measure): Answer {
  const bare = text.replace(/\\[a-zA-Z]+\*?(?:\s*\{[a-z]*matrix\})?/g, " ")
  if (/(?<![\\a-zA-Z])[a-z]{4,}|[A-Z][a-z]{3,}/.test(bare) || /[^\p{ASCII}]/u.test(bare)) {
    return { kind: "text", words: plainWords(written), written }
  }
  if (/^\d{1,2}:\d{2}(?!\d)/.test(text)) return { kind: "text", words: text, written } // a time
  const value = parseExpression(text)
  if (value === undefined) {
    const words = plainWords(written)
    return /[a-zA-Z]{2,}/.test(words) && /\\text|\s/.test(written)
      ? { kind: "text", words, written }
      : { kind: "unreadable", written }
  }
  const rows = matrixOf(value)
  if (rows === "not a matrix") {
    const scaled: MathExpression =
      factor === 1 ? value : { op: "multiply", args: [rational(factor), value] }
    return { kind: "scalar", value: scaled, ...measure, written }
  }
  return rows ? { kind: "matrix", rows, written } : { kind: "unreadable", written }
}

/** `a \pm b` is two values; several signs go together. */
function expandSigns(text: string): readonly string[] | undefined {
  if (!/\\(?:pm|mp)(?![a-zA-Z])/.test(text)) return undefined
  const pick = (pm: string, mp: string): string =>
    text.replace(/\\pm(?![a-zA-Z])/g, pm).replace(/\\mp(?![a-zA-Z])/g, mp)
  return [pick("+", "-"), pick("-", "+")]
}
