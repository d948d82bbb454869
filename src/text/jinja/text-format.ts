import { spendText } from "./budget.ts"
import { floatDigits, grouped, padded } from "./number-format.ts"
import { asDouble, integer, isNumber } from "./numbers.ts"
import { repr, text } from "./printing.ts"
import {
  Dict,
  Float,
  isInteger,
  type Named,
  Range,
  refuse,
  Tuple,
  typeName,
  type Value,
} from "./values.ts"

const DIRECTIVE = /%(?:\(([^()]*)\))?([-+ #0]*)(\*|\d+)?(?:\.(\*|\d+)?)?[hlL]?([\s\S]?)|[^%]+/g

/** Python's `format % values`. */
export function percentFormat(format: string, values: Value): string {
  const items = values instanceof Tuple ? values.items : [values]
  let next = 0
  const take = () =>
    next < items.length ? items[next++]! : refuse("not enough arguments for format string")
  const size = (given: string | undefined) => {
    if (given !== "*") return given === undefined ? undefined : Number(given)
    const value = take()
    return isInteger(value) ? Number(value) : refuse("* wants int")
  }
  let made = ""
  for (const [whole, key, flags, wide, exact, letter] of format.matchAll(DIRECTIVE)) {
    if (!whole.startsWith("%")) {
      made += whole
      continue
    }
    if (letter === "") refuse("incomplete format")
    const width = size(wide)
    const precision = whole.includes(".") ? (size(exact) ?? 0) : undefined
    if (letter === "%") {
      made += "%"
      continue
    }
    const value = key === undefined ? take() : keyed(values, key)
    made += converted(value, letter!, { flags: flags!, width, precision })
    spendText(made.length)
  }
  const isMapping = values instanceof Dict || Array.isArray(values) || values instanceof Range
  if (next < items.length && !isMapping && !(next === 0 && usesKeys(format, values))) {
    refuse("not all arguments converted during string formatting")
  }
  return made
}

const usesKeys = (format: string, values: Value) => values instanceof Dict && format.includes("%(")

function keyed(values: Value, key: string): Value {
  if (!(values instanceof Dict)) return refuse("format requires a mapping")
  return values.get(key) ?? refuse(`KeyError: ${repr(key)}`)
}

interface Directive {
  readonly flags: string
  readonly width: number | undefined
  readonly precision: number | undefined
}

function converted(value: Value, letter: string, { flags, width, precision }: Directive): string {
  const given = width ?? 0
  const left = flags.includes("-") || given < 0
  const zero = flags.includes("0") && !left
  const place = (body: string, lead = "", zeros = zero) =>
    padded(body, zeros ? padding("0", "=", given) : padding(" ", left ? "<" : ">", given), lead)
  if (letter === "s" || letter === "r") {
    const whole = letter === "s" ? text(value) : repr(value)
    return place(
      precision === undefined ? whole : [...whole].slice(0, precision).join(""),
      "",
      false,
    )
  }
  if (letter === "c") return place(character(value), "", false)
  if ("diuoxX".includes(letter)) {
    const number = wholeFor(value, letter)
    const digits = based(number, letter, flags.includes("#"))
    const body = digits.body.padStart(precision ?? 0, "0")
    return place(body, signOf(number < 0, flags) + digits.prefix)
  }
  if (!"eEfFgG".includes(letter)) refuse(`unsupported format character '${letter}'`)
  if (!isNumber(value)) refuse(`must be real number, not ${typeName(value)}`)
  const double = asDouble(value as Float)
  const lower = letter.toLowerCase()
  const digits = floatDigits(double, lower, precision ?? 6, flags.includes("#"))
  const sign = signOf(double < 0 || Object.is(double, -0), flags)
  return place(lower === letter ? digits : digits.toUpperCase(), sign)
}

const padding = (fill: string, align: "<" | ">" | "=" | "^", width: number) => ({
  fill,
  align,
  width: Math.abs(width),
})

const signOf = (negative: boolean, flags: string) =>
  negative ? "-" : flags.includes("+") ? "+" : flags.includes(" ") ? " " : ""

function wholeFor(value: Value, letter: string): bigint {
  if (isInteger(value)) return BigInt(value)
  if (value instanceof Float && "diu".includes(letter)) {
    if (!Number.isFinite(value.value)) refuse("cannot convert float to integer")
    return BigInt(Math.trunc(value.value))
  }
  const needed = "diu".includes(letter) ? "a real number" : "an integer"
  return refuse(`%${letter} format: ${needed} is required, not ${typeName(value)}`)
}

function based(value: bigint, letter: string, prefixed: boolean) {
  const size = value < 0n ? -value : value
  const base = { b: 2, o: 8, x: 16, X: 16 }[letter] ?? 10
  const digits = size.toString(base)
  integer(size)
  const body = letter === "X" ? digits.toUpperCase() : digits
  return { body, prefix: prefixed && base !== 10 ? `0${letter}` : "" }
}

function character(value: Value): string {
  if (typeof value === "string" && [...value].length === 1) return value
  return isInteger(value) && Number(value) >= 0 && Number(value) < 0x110000
    ? String.fromCodePoint(Number(value))
    : refuse("%c requires int or char")
}

/** How a field of `str.format` looks up parts of a value, in the sandbox. */
export interface FieldAccess {
  readonly attribute: (of: Value, name: string) => Value
  readonly item: (of: Value, index: Value) => Value
}

const FIELD = /\{\{|\}\}|\{((?:[^{}]|\{[^{}]*\})*)\}|[^{}]+|[{}]/g

/** Python's `format.format(*args, **named)`. */
export function braceFormat(
  format: string,
  args: readonly Value[],
  named: Named,
  access: FieldAccess,
): string {
  let automatic = 0
  const field = (name: string): Value => {
    const [, first, rest] = /^([^.[]*)([\s\S]*)$/.exec(name)!
    if (first === "" && automatic < 0) refuse("cannot switch from manual to automatic numbering")
    const index = first === "" ? automatic++ : /^\d+$/.test(first!) ? Number(first) : undefined
    if (first !== "" && index !== undefined) {
      if (automatic > 0) refuse("cannot switch from automatic to manual numbering")
      automatic = -1
    }
    const value = index === undefined ? named.get(first!) : args[index]
    if (value === undefined) return refuse(`the field '${name}' has no value`)
    return reached(value, rest!, access)
  }
  const replaced = (inner: string): string => {
    const [, name, conversion, spec] = /^([^!:]*)(?:!([\s\S]))?(?::([\s\S]*))?$/.exec(inner) ?? [
      "",
      refuse(`the field '{${inner}}' is not understood`),
    ]
    const value = field(name!)
    const shown = conversion === undefined ? value : shownAs(value, conversion)
    const filled = (spec ?? "").replace(/\{([^{}]*)\}/g, (_, at: string) => text(field(at)))
    return specified(shown, filled)
  }
  let made = ""
  for (const [whole, inner] of format.matchAll(FIELD)) {
    if (whole === "{" || whole === "}") refuse(`Single '${whole}' encountered in format string`)
    if (inner !== undefined) made += replaced(inner)
    else made += whole === "{{" || whole === "}}" ? whole[0] : whole
    spendText(made.length)
  }
  return made
}

function reached(value: Value, path: string, { attribute, item }: FieldAccess): Value {
  let at = value
  for (const [, name, index] of path.matchAll(/\.([^.[]+)|\[([^\]]+)\]/g)) {
    at = name !== undefined ? attribute(at, name) : item(at, indexOf(index!))
  }
  return at
}

const indexOf = (index: string): Value => (/^\d+$/.test(index) ? Number(index) : index)

function shownAs(value: Value, conversion: string): string {
  if (conversion === "s") return text(value)
  return conversion === "r" ? repr(value) : refuse(`Unknown conversion specifier '${conversion}'`)
}

const SPEC = /^(?:([\s\S])?([<>=^]))?([-+ ])?(#)?(0)?(\d+)?([,_])?(?:\.(\d+))?([a-zA-Z%])?$/u

function specified(value: Value, spec: string): string {
  if (spec === "") return text(value)
  const parts = SPEC.exec(spec)
  if (parts === null) return refuse(`Invalid format specifier '${spec}'`)
  const [, fill, align, sign = "", alternate, zero, wide, separator, exact, letter = ""] = parts
  const isText = typeof value === "string"
  if (!isText && !isNumber(value)) {
    return refuse(`unsupported format string passed to ${typeName(value)}.__format__`)
  }
  const side = (align ?? (zero ? "=" : isText ? "<" : ">")) as "<" | ">" | "=" | "^"
  const place = { fill: fill ?? (zero ? "0" : " "), align: side, width: Number(wide ?? 0) }
  const precision = exact === undefined ? undefined : Number(exact)
  if (isText) {
    if (letter !== "" && letter !== "s") refuse(`Unknown format code '${letter}' for type 'str'`)
    if (sign !== "" || separator !== undefined || side === "=") {
      refuse(`Invalid format specifier '${spec}' for type 'str'`)
    }
    return padded(precision === undefined ? value : [...value].slice(0, precision).join(""), place)
  }
  if (zero && separator !== undefined) refuse(`the format '${spec}' is not supported here`)
  const { body, lead } = numberParts(value, { letter, precision, sign, alternate, separator })
  return padded(body, place, lead)
}

interface NumberSpec {
  readonly letter: string
  readonly precision: number | undefined
  readonly sign: string
  readonly alternate: string | undefined
  readonly separator: string | undefined
}

function numberParts(value: Value, spec: NumberSpec): { body: string; lead: string } {
  const { letter, precision, sign, alternate, separator } = spec
  const group = (digits: string) => (separator === undefined ? digits : grouped(digits, separator))
  if (isInteger(value) && "bcdoxX".includes(letter)) {
    if (precision !== undefined) refuse("Precision not allowed in integer format specifier")
    if (letter === "c") return { body: character(value), lead: "" }
    const whole = BigInt(value)
    const { body, prefix } = based(whole, letter, alternate !== undefined)
    return { body: group(body), lead: signOf(whole < 0n, sign) + prefix }
  }
  if (!"eEfFgG%".includes(letter) || (letter === "" && precision !== undefined)) {
    refuse(`Unknown format code '${letter}' for type '${typeName(value)}'`)
  }
  const double = asDouble(value as Float)
  const lead = signOf(double < 0 || Object.is(double, -0), sign)
  if (letter === "") return { body: group(text(value).replace(/^-/, "")), lead }
  const scaled = letter === "%" ? double * 100 : double
  const lower = letter === "%" ? "f" : letter.toLowerCase()
  const digits = floatDigits(scaled, lower, precision ?? 6, alternate !== undefined)
  const cased = "EFG".includes(letter) ? digits.toUpperCase() : digits
  return { body: group(cased) + (letter === "%" ? "%" : ""), lead }
}
