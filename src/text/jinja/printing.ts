import { spendText } from "./budget.ts"
import { floatText } from "./numbers.ts"
import {
  Callable,
  Dict,
  Float,
  Markup,
  Range,
  refuse,
  Thing,
  Tuple,
  typeName,
  Undefined,
  type Value,
  View,
} from "./values.ts"

/** A value as Python's `str` writes it. */
export function text(value: Value): string {
  if (typeof value === "string") return value
  if (typeof value === "number") return String(value)
  if (value instanceof Undefined) return ""
  if (value instanceof Markup) return value.text
  return repr(value)
}

/** A value as Python's `repr` writes it. @throws InputError where Python prints an address */
export function repr(value: Value): string {
  if (value === null) return "None"
  if (typeof value === "string") return quoted(value)
  if (typeof value === "boolean") return value ? "True" : "False"
  if (typeof value === "number" || typeof value === "bigint") return String(value)
  if (value instanceof Float) return floatText(value.value)
  if (value instanceof Undefined) return "Undefined"
  if (value instanceof Markup) return `Markup(${quoted(value.text)})`
  if (Array.isArray(value)) return bracketed("[", value.map(repr), "]")
  if (value instanceof Tuple) {
    return bracketed("(", value.items.map(repr), value.items.length === 1 ? ",)" : ")")
  }
  if (value instanceof Dict) return bracketed("{", pairTexts(value), "}")
  if (value instanceof Range) {
    const { start, stop, step } = value
    return step === 1 ? `range(${start}, ${stop})` : `range(${start}, ${stop}, ${step})`
  }
  if (value instanceof View) {
    const items = value.kind === "items" ? itemTexts(value.of) : viewed(value).map(repr)
    return bracketed(`dict_${value.kind}([`, items, "])")
  }
  if (value instanceof Callable && value.type === "Macro") return `<Macro ${quoted(value.name)}>`
  const own = value instanceof Thing ? value.print(repr) : undefined
  return own ?? refuse(`printing a ${typeName(value)} writes an address in memory`)
}

const viewed = ({ of, kind }: View): Value[] => [...(kind === "keys" ? of.keys() : of.values())]
const pairTexts = (dict: Dict) =>
  Array.from(dict.pairs(), ([key, value]) => `${repr(key)}: ${repr(value)}`)
const itemTexts = (dict: Dict) =>
  Array.from(dict.pairs(), ([key, value]) => `(${repr(key)}, ${repr(value)})`)

function bracketed(open: string, items: readonly string[], close: string): string {
  spendText(items.reduce((sum, item) => sum + item.length + 2, 16))
  return open + items.join(", ") + close
}

/** What Python does not hold to be printable, the space left out. */
const UNPRINTABLE = /[\\\p{C}\p{Z}]/gu
const NAMED: Readonly<Record<string, string>> = {
  ...{ "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", " ": " " },
}

function quoted(value: string): string {
  spendText(value.length)
  const quote = value.includes("'") && !value.includes('"') ? '"' : "'"
  const escaped = value.replace(UNPRINTABLE, (char) => {
    const named = NAMED[char]
    if (named !== undefined) return named
    const code = char.codePointAt(0)!
    if (code < 0x100) return `\\x${hex(code, 2)}`
    return code < 0x10000 ? `\\u${hex(code, 4)}` : `\\U${hex(code, 8)}`
  })
  return quote + (quote === "'" ? escaped.replaceAll("'", "\\'") : escaped) + quote
}

const hex = (code: number, width: number) => code.toString(16).padStart(width, "0")
