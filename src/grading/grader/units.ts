/** Units and symbols around a number: what may be written and left out. */

const NAMES: Readonly<Record<string, string>> = {
  cm: "cm centimeter centimeters centimetre centimetres",
  mm: "mm millimeter millimeters",
  m: "m meter meters metre metres",
  km: "km kilometer kilometers kilometre kilometres",
  in: "in inch inches",
  ft: "ft foot feet",
  yd: "yd yard yards",
  mi: "mi mile miles",
  g: "g gram grams",
  kg: "kg kilogram kilograms",
  lb: "lb lbs pound pounds",
  s: "s sec second seconds",
  min: "min minute minutes",
  h: "h hr hrs hour hours",
  day: "day days",
  week: "week weeks",
  month: "month months",
  year: "year years",
  mph: "mph",
  cent: "cent cents",
  dollar: "dollar dollars",
  degree: "degree degrees",
  percent: "percent pct percentage",
}

const CANONICAL: ReadonlyMap<string, string> = new Map(
  Object.entries(NAMES).flatMap(([unit, names]) => names.split(" ").map((name) => [name, unit])),
)

const WRAPPED =
  /^(.*?[\d)}\]%].*?|.*?\\pi)\s*\\(?:text|textbf|textrm|textnormal|mathrm|mbox|textit)\s*\{([^{}]*)\}\s*(\^\s*\{?\s*-?\d\s*\}?)?$/s
const BARE =
  /^(.*[\d)}%])(\s*)([a-zA-Z][a-zA-Z.]*(?:[ /-][a-zA-Z.]+){0,4})\s*(\^\s*\{?\s*\d\s*\}?)?$/s

export interface Measured {
  readonly text: string
  /** Canonical name with its power (`cm^2`), the words as written, or "" for none. */
  readonly unit: string
  /** A percent sign or the word. */
  readonly percent: boolean
}

/** Takes a unit, a percent or degree sign and a currency sign off an answer's ends. */
export function takeUnit(answer: string): Measured {
  let text = answer
    .replace(/\\\$/g, "")
    .replace(/^\s*\$/, "")
    .trim()
  let unit = ""
  let percent = false
  for (let pass = 0; pass < 4; pass++) {
    const before = text
    const sign = /^(.*\S)\s*\\?%$/s.exec(text)
    if (sign) {
      percent = true
      text = sign[1]!
    }
    if (!/\\(?:sin|cos|tan|cot|sec|csc)/.test(text))
      text = text.replace(
        /(\S)\s*\^\s*\\circ(?:\s*(?:[CF]|\\(?:text|mathrm)\s*\{\s*[CF]\s*\}))?$/,
        "$1",
      )
    const match = wrappedUnit(text) ?? bareUnit(text)
    if (match) {
      const words = match.words.trim()
      const canonical = CANONICAL.get(words.toLowerCase().replace(/\.$/, ""))
      if (canonical === "percent") percent = true
      else if (canonical !== "degree" && unit === "")
        unit = withPower(canonical ?? words, match.power)
      text = match.rest
    }
    if (text === before) break
  }
  return { text: text.trim(), unit, percent }
}

interface UnitMatch {
  readonly rest: string
  readonly words: string
  readonly power: string
}

function wrappedUnit(text: string): UnitMatch | undefined {
  const match = WRAPPED.exec(text)
  if (!match) return undefined
  const [, rest = "", words = "", power = ""] = match
  return /^\s*(?:and|or|if)\b/.test(words) ? undefined : { rest, words, power }
}

/** Words after a number: known units, or words of three letters and more after a space. */
function bareUnit(text: string): UnitMatch | undefined {
  const match = BARE.exec(text)
  if (!match) return undefined
  const [, rest = "", space = "", words = "", power = ""] = match
  if (/\\[a-zA-Z]*$/.test(rest) || /\\(?:text|mathrm)/.test(rest.slice(-12))) return undefined
  const known = CANONICAL.has(words.toLowerCase()) && (words.length > 1 || space !== "")
  const prose = space !== "" && /[a-zA-Z]{3}/.test(words) && !/^(?:and|or|if)\b/.test(words)
  return known || prose ? { rest, words, power } : undefined
}

function withPower(name: string, power: string): string {
  const exponent = power.replace(/[\s{}^]/g, "")
  return exponent === "" || exponent === "1" ? name : `${name}^${exponent}`
}

/** Two units are in conflict when both are known and differ; words that only we do not know never are. */
export function unitsConflict(a: string, b: string): boolean {
  const known = (unit: string): boolean => CANONICAL.has(unit.split("^")[0]!)
  return a !== "" && b !== "" && known(a) && known(b) && a !== b
}
