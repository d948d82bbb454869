import { closingBrace } from "./brackets.ts"
import { dimensionOf, UNIT_NAMES } from "./unit-table.ts"
import { changesValue, MULTIPLIERS } from "./words.ts"

/** Units and signs around a number: what may be written and left out. */

export interface Measured {
  readonly text: string
  /** The unit as written (`cm^2`, `apples`), "" for none. */
  readonly unit: string
  /** A percent sign or the word. */
  readonly percent: boolean
  /** A degree sign or the word, alone. */
  readonly degrees: boolean
  /** What words such as `million` multiply the number by. */
  readonly factor: number
}

/**
 * Takes a unit, a percent or degree sign, a multiplier and a currency sign off an answer's ends.
 */
export function takeUnit(answer: string): Measured {
  const dollars = /^-?\s*(?:USD|\\\$)\s*[\d.]/.test(answer)
  let text = answer
    .replace(/\\\$/g, "")
    .replace(/^\s*\$/, "")
    .replace(/^(-?)\s*(?:USD|US|EUR|GBP|Rs\.?|RMB)\s*(?=\d)/, "$1")
    .trim()
  let unit = dollars ? "dollars" : ""
  let percent = false
  let degrees = false
  let factor = 1
  for (let pass = 0; pass < 6; pass++) {
    const before = text
    const sign = /^(.*\S)\s*\\?%$/s.exec(text)
    if (sign) {
      percent = true
      text = sign[1]!
    }
    const circle = takeDegree(text)
    if (circle) {
      text = circle.rest
      if (circle.scale === "") degrees = true
      else unit = circle.scale
    }
    const match = wrappedUnit(text) ?? bareUnit(text) ?? foreignUnit(text)
    if (match) {
      const words = match.words.trim()
      const name = words.toLowerCase().replace(/\.$/, "")
      const multiplied = leadingMultiplier(words)
      if (multiplied) factor *= multiplied.factor
      const rest = multiplied ? multiplied.rest : words
      if (/^(?:percent|per cent|pct|percentage|percents|percentage points?)$/.test(name))
        percent = true
      else if (/^degrees?$/.test(name)) degrees = true
      else if (rest !== "" && !dollars)
        unit = joinUnits(match.power === "" ? rest : `${rest}^${match.power}`, unit)
      text = match.rest
    }
    if (text === before) break
  }
  return { text: text.trim(), unit, percent, degrees, factor }
}

/** Taken from the right: `m` before `s^-1` is `m s^-1`. */
const joinUnits = (left: string, right: string): string =>
  right === "" ? left : `${left} ${right}`

function leadingMultiplier(words: string): { factor: number; rest: string } | undefined {
  let rest = words
  let factor = 1
  for (let count = 0; count < 3; count++) {
    const match = /^(\p{Script=Han}|[A-Za-z]+)\s*(.*)$/su.exec(rest)
    const name = match?.[1]?.toLowerCase() ?? ""
    if (!Object.hasOwn(MULTIPLIERS, name)) break
    factor *= MULTIPLIERS[name]!
    rest = match![2]!.replace(/^of\s+/, "")
  }
  return rest === words ? undefined : { factor, rest }
}

interface UnitMatch {
  readonly rest: string
  readonly words: string
  readonly power: string
}

/** `36^\circ`, `5^\circ\text{C}`: an angle's sign (scale ""), or a temperature's. */
function takeDegree(text: string): { rest: string; scale: string } | undefined {
  if (/\\(?:sin|cos|tan|cot|sec|csc)/.test(text)) return undefined
  const match = /^(.*\S)\s*\^\s*\\circ\s*(?:(?:\\(?:text|mathrm)\s*\{\s*)?([CFK])\s*\}?)?$/s.exec(
    text,
  )
  if (!match) return undefined
  return { rest: match[1]!, scale: match[2] === undefined ? "" : `deg${match[2]}` }
}

const ENDS_IN_VALUE = /(?:[\d)}\]%!.]|\\(?:pi|infty|circ)|[a-z]\^\{?\d+\}?|\\mu|\\Omega)\s*$/
const POWER = /\s*\^\s*(?:\{\s*(-?\d)\s*\}|(-?\d))$/
const UNIT_COMMAND = /\\(?:text|textbf|textrm|textnormal|mathrm|mbox|textit|operatorname|rm)\s*\{/g

/** `\text{ cm}^2`, `\mathrm{m\,s^{-1}}`, `\mu\text{F}` behind a value. */
function wrappedUnit(answer: string): UnitMatch | undefined {
  const exponent = POWER.exec(answer)
  const power = exponent?.[1] ?? exponent?.[2] ?? ""
  const text = (exponent ? answer.slice(0, exponent.index) : answer).trimEnd()
  if (!text.endsWith("}") && !/\\(?:mu|Omega)$/.test(text)) return undefined
  const greek = /^(.*\d.*?)\\(mu|Omega)$/s.exec(text)
  if (greek) return unitOf(greek[1]!, greek[2]!, power)
  for (const match of text.matchAll(UNIT_COMMAND)) {
    const open = match.index + match[0].length - 1
    if (closingBrace(text, open) !== text.length - 1) continue
    const content = text.slice(open + 1, -1).replace(/\\[,;:! ]|~/g, " ")
    const before = text.slice(0, match.index)
    const micro = /^(.*\S)\s*\\mu\s*$/s.exec(before)
    return micro ? unitOf(micro[1]!, `u${content.trim()}`, power) : unitOf(before, content, power)
  }
  return undefined
}

function unitOf(rest: string, words: string, power: string): UnitMatch | undefined {
  const before = rest.replace(/[\s/]+$|\\cdot\s*$/, "")
  const over = /[/]\s*$/.test(rest) ? "/" : ""
  if (
    !/[\d]|\\pi|\\infty|\\sqrt|^[a-z]$/.test(before) ||
    /\\[a-zA-Z]*$/.test(before.replace(/\\(?:pi|infty|mu|Omega)$/, ""))
  ) {
    if (!/\\(?:text|mathrm|mbox)\s*\{[^{}]*\}$/.test(before)) return undefined
  }
  if (words.trim() === "" || changesValue(words)) return undefined
  return { rest: before, words: over + words.trim(), power }
}

const BARE = /^(.*[\d)}%!])(\s*)([a-zA-Z][a-zA-Z.'-]*(?:[ /][a-zA-Z.'-]+){0,7})$/s

/** Words after a number: known units, or words of three letters and more after a space. */
function bareUnit(answer: string): UnitMatch | undefined {
  const exponent = POWER.exec(answer)
  const match = BARE.exec(exponent ? answer.slice(0, exponent.index) : answer)
  if (!match) return undefined
  const [, rest = "", space = "", words = ""] = match
  if (/\\[a-zA-Z]*$/.test(rest) || /\\(?:text|mathrm)/.test(rest.slice(-12))) return undefined
  if (changesValue(words)) return undefined
  const name = words.toLowerCase()
  const known = UNIT_NAMES.has(name) && (words.length > 1 || (space !== "" && /[mgsh]/.test(words)))
  const measure = space !== "" && /^[a-zA-Z]?[A-Z]|[/]/.test(words) && words.length > 1
  const prose = space !== "" && /[a-zA-Z]{3}/.test(words)
  return known || prose || (measure && dimensionOf(words))
    ? { rest, words, power: exponent?.[1] ?? exponent?.[2] ?? "" }
    : undefined
}

/** `5个`, `5です`, `5 яблок`: words of other scripts behind a number, other than denials. */
function foreignUnit(text: string): UnitMatch | undefined {
  const match = /^(.*[\d)}\]%])\s*([^\p{ASCII}](?:[^\p{ASCII}]|\s(?=[^\p{ASCII}])){0,24})$/su.exec(
    text,
  )
  if (!match || /[或和与及不非√πθ]|не|ない|아니/u.test(match[2]!)) return undefined
  return ENDS_IN_VALUE.test(match[1]!)
    ? { rest: match[1]!, words: match[2]!, power: "" }
    : undefined
}

export type UnitRelation =
  /** One has none, or one is a word that we do not know. */
  | "compatible"
  /** Known units of one kind: the second's number, times and over these, is in the first's unit. */
  | { readonly times: number; readonly over: number }
  | "conflict"

/** How two units stand to each other. */
export function compareUnits(a: string, b: string): UnitRelation {
  if (a === "" || b === "") return "compatible"
  const [x, y] = [dimensionOf(a), dimensionOf(b)]
  if (!x || !y) return "compatible"
  if (x.dimension !== y.dimension) return "conflict"
  return Math.abs(x.factor / y.factor - 1) < 1e-12
    ? "compatible"
    : { times: y.factor, over: x.factor }
}
