import { type Expression, freeSymbols, parseExpression } from "./expression.ts"
import { unwrapMath } from "./extract.ts"
import { isEnclosed, normalizeLatex, plainWords, splitTopLevel, trimPunctuation } from "./latex.ts"
import { matrixOf } from "./matrix.ts"
import { takeUnit } from "./units.ts"

export type RelationOperator = "=" | "\\ne" | "<" | "\\le" | ">" | "\\ge" | "\\in"

/** What an answer is. `written` is its normalised text, for comparing letter by letter. */
export type Answer = { readonly written: string } & (
  | { readonly kind: "text"; readonly words: string }
  | {
      readonly kind: "scalar"
      readonly value: Expression
      readonly unit: string
      readonly percent: boolean
    }
  | { readonly kind: "list" | "tuple" | "set"; readonly items: readonly Answer[] }
  | {
      readonly kind: "interval"
      readonly ends: readonly [Answer, Answer]
      readonly open: readonly [boolean, boolean]
    }
  | { readonly kind: "union"; readonly items: readonly Answer[] }
  | { readonly kind: "matrix"; readonly rows: readonly (readonly Expression[])[] }
  | {
      readonly kind: "relation"
      readonly sides: readonly Answer[]
      readonly operators: readonly RelationOperator[]
    }
  /** Looks like mathematics, and could not be read. */
  | { readonly kind: "unreadable" }
)

export const MAX_ANSWER_LENGTH = 2_000
const MAX_ITEMS = 64

export interface Reading {
  /** `1,234` at the top level is one number, not a list. */
  readonly thousands: boolean
  /** `1,25` is a decimal comma. */
  readonly decimalComma: boolean
}

/** Reads an answer, mathematics or words. Never throws; what cannot be read is `unreadable`. */
export function readAnswer(text: string, reading: Reading): Answer {
  return read(normalizeLatex(unwrapMath(text)), reading, 0)
}

function read(text: string, reading: Reading, depth: number): Answer {
  const written = trimPunctuation(text)
  if (depth > 6 || written.length > MAX_ANSWER_LENGTH) return { kind: "unreadable", written }
  const next = (part: string): Answer => read(part, reading, depth + 1)
  if (isWords(written)) return { kind: "text", written, words: plainWords(written) }
  const joined = joinNumbers(written, reading)
  return (
    readList(joined, next) ??
    readUnion(joined, next) ??
    readBraced(joined, next) ??
    readRelation(joined, next) ??
    readBracketed(joined, next) ??
    readScalar(joined, written)
  )
}

const WORDS_ONLY =
  /^(?:\\(?:text|textbf|textit|textrm|textnormal|mathrm|mbox)\s*\{[^{}]*\}|[\s.,!?'"()-])+$/

/** Words: everything inside `\text{}`, or bare words that cannot be products of variables. */
function isWords(text: string): boolean {
  if (WORDS_ONLY.test(text) && /[a-zA-Z]/.test(text) && !/\d/.test(text)) return true
  if (
    /^["'(]?[A-Za-z]{4,}["')]?$/.test(text) ||
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
  /^(?:\\(?:text|textrm|textnormal|mbox)\s*\{\s*,?\s*(?:and|or)\s*,?\s*\}|,|;|\\newline)/

/** The width of a separator of list items at `at`, 0 for none. */
function connector(text: string, at: number): number {
  const c = text[at]!
  if (c === "," || c === ";") return 1
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
  if (!text.startsWith("{") || !text.endsWith("}")) return undefined
  return isEnclosed(`(${text.slice(1, -1)})`) && pairs(text) ? next(text.slice(1, -1)) : undefined
}

function pairs(text: string): boolean {
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "\\") i++
    else if (text[i] === "{") depth++
    else if (text[i] === "}" && --depth === 0) return i === text.length - 1
  }
  return false
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
function readRelation(text: string, next: (part: string) => Answer): Answer | undefined {
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
  return exact.length === 0
    ? { ...read[0]!, written: read[0]!.written }
    : { kind: "relation", sides: read, operators: exact, written: text }
}

function readBracketed(text: string, next: (part: string) => Answer): Answer | undefined {
  if (!isEnclosed(text)) return undefined
  const isSet = text.startsWith("\\{")
  const inner = isSet ? text.slice(2, -2) : text.slice(1, -1)
  const parts = splitTopLevel(inner, (at) => (inner[at] === "," || inner[at] === ";" ? 1 : 0))
  if (parts.length > MAX_ITEMS) return { kind: "unreadable", written: text }
  if (isSet) {
    if (!text.endsWith("\\}")) return undefined
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
  const { text: bare, unit, percent } = takeUnit(text)
  const signs = expandSigns(bare)
  if (signs) {
    const values = signs.map((sign) => scalarOf(sign, sign, unit, percent))
    return { kind: "list", items: values, written }
  }
  return scalarOf(bare, written, unit, percent)
}

function scalarOf(text: string, written: string, unit: string, percent: boolean): Answer {
  if (
    /(?<![\\a-zA-Z])[a-z]{4,}|[A-Z][a-z]{3,}/.test(
      text.replace(/\\[a-zA-Z]+\*?(?:\s*\{[a-z]*matrix\})?/g, " "),
    )
  ) {
    return { kind: "text", words: plainWords(written), written }
  }
  if (/^\d{1,2}:\d{2}(?!\d)/.test(text)) return { kind: "text", words: text, written } // a time of day
  const value = parseExpression(text)
  if (value === undefined) {
    const words = plainWords(written)
    return /[a-zA-Z]{2,}/.test(words) && /\\text|\s/.test(written)
      ? { kind: "text", words, written }
      : { kind: "unreadable", written }
  }
  const rows = matrixOf(value)
  if (rows === "not a matrix") return { kind: "scalar", value, unit, percent, written }
  return rows ? { kind: "matrix", rows, written } : { kind: "unreadable", written }
}

/** `a \pm b` is two values; several signs go together. */
function expandSigns(text: string): readonly string[] | undefined {
  if (!/\\(?:pm|mp)(?![a-zA-Z])/.test(text)) return undefined
  const pick = (pm: string, mp: string): string =>
    text.replace(/\\pm(?![a-zA-Z])/g, pm).replace(/\\mp(?![a-zA-Z])/g, mp)
  return [pick("+", "-"), pick("-", "+")]
}

/** The symbols of an answer that is a scalar. */
export const symbolsOf = (answer: Answer): ReadonlySet<string> =>
  answer.kind === "scalar" ? freeSymbols(answer.value) : new Set()
