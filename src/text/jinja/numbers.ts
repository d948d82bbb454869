import { Float, isInteger, refuse, typeName, Undefined, type Value } from "./values.ts"

/** Python prints no integer of more digits than this, and a template shall not make one either. */
const MAX_DIGITS = 4300
const LARGEST = 10n ** BigInt(MAX_DIGITS)

/** An integer in the form that `Value` gives it. */
export function integer(value: bigint): number | bigint {
  if (value >= LARGEST || value <= -LARGEST) {
    return refuse(`an integer of more than ${MAX_DIGITS} digits`)
  }
  const small = Number(value)
  return Number.isSafeInteger(small) ? small : value
}

const big = (value: number | bigint | boolean): bigint => BigInt(value)

export const isNumber = (value: Value): value is number | bigint | boolean | Float =>
  isInteger(value) || value instanceof Float

/** @throws InputError when an integer is too large for a float */
export function asDouble(value: number | bigint | boolean | Float): number {
  const double = value instanceof Float ? value.value : Number(value)
  if (typeof value === "bigint" && !Number.isFinite(double)) {
    refuse("int too large to convert to float")
  }
  return double
}

/** A float as Python writes it: `2.0`, `1e-07`, `1e+16`. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return "nan"
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf"
  if (Object.is(value, -0)) return "-0.0"
  const [digits, exponentText] = value.toExponential().split("e") as [string, string]
  const exponent = Number(exponentText)
  if (exponent < -4 || exponent >= 16) {
    const sign = exponent < 0 ? "-" : "+"
    return `${digits}e${sign}${String(Math.abs(exponent)).padStart(2, "0")}`
  }
  const significant = digits.replace(/[-.]/g, "").length
  return value.toFixed(Math.max(1, significant - 1 - exponent))
}

const WRONG = (op: string, left: Value, right: Value): never =>
  refuse(`unsupported operand type(s) for ${op}: '${typeName(left)}' and '${typeName(right)}'`)

/** @throws InputError where an operand is no number, as Python's TypeError says it */
export function arithmetic(op: string, left: Value, right: Value): Value {
  if (left instanceof Undefined) return refuse(left.why)
  if (right instanceof Undefined) return refuse(right.why)
  if (!isNumber(left) || !isNumber(right)) return WRONG(op, left, right)
  if (isInteger(left) && isInteger(right) && op !== "/") return integerOf(op, left, right)
  return new Float(floatOf(op, asDouble(left), asDouble(right)))
}

type Whole = number | bigint | boolean

function integerOf(op: string, left: Whole, right: Whole): Value {
  if (typeof left !== "bigint" && typeof right !== "bigint") {
    const quick = smallOf(op, Number(left), Number(right))
    if (quick !== undefined) return quick
  }
  const [a, b] = [big(left), big(right)]
  switch (op) {
    case "+":
      return integer(a + b)
    case "-":
      return integer(a - b)
    case "*":
      return integer(a * b)
    case "//":
    case "%": {
      if (b === 0n) refuse("integer division or modulo by zero")
      const rest = a % b
      const isBelow = rest !== 0n && rest < 0n !== b < 0n
      if (op === "%") return integer(isBelow ? rest + b : rest)
      return integer(isBelow ? a / b - 1n : a / b)
    }
    default:
      return powerOf(a, b)
  }
}

/** undefined where the result may not be exact. */
function smallOf(op: string, a: number, b: number): number | undefined {
  let result: number
  if (op === "+") result = a + b
  else if (op === "-") result = a - b
  else if (op === "*") result = a * b
  else if (op === "%" && b !== 0) result = a - b * Math.floor(a / b)
  else return undefined
  return Number.isSafeInteger(result) && (op !== "%" || Math.abs(a) < 2 ** 31)
    ? result + 0 // no -0
    : undefined
}

function powerOf(a: bigint, b: bigint): Value {
  if (b < 0n) {
    if (a === 0n) refuse("0.0 cannot be raised to a negative power")
    return new Float(Number(a) ** Number(b))
  }
  const digits = BigInt(a.toString().length - 1) * b
  if (digits > MAX_DIGITS || (b > 20_000n && a > 1n)) integer(LARGEST)
  return integer(a ** b)
}

function floatOf(op: string, a: number, b: number): number {
  switch (op) {
    case "+":
      return a + b
    case "-":
      return a - b
    case "*":
      return a * b
    case "/":
      return b === 0 ? refuse("division by zero") : a / b
    case "//":
    case "%": {
      if (b === 0) refuse(op === "%" ? "float modulo" : "float floor division by zero")
      let rest = a % b
      if (rest !== 0 && rest < 0 !== b < 0) rest += b
      if (op === "%") return rest === 0 ? (b < 0 ? -0 : 0) : rest
      return Math.round((a - rest) / b)
    }
    default: {
      if (a === 0 && b < 0) refuse("0.0 cannot be raised to a negative power")
      const power = a ** b
      if (a < 0 && !Number.isInteger(b)) refuse("complex numbers are not supported here")
      if (!Number.isFinite(power) && Number.isFinite(a) && Number.isFinite(b)) {
        refuse("Numerical result out of range")
      }
      return power
    }
  }
}

export function signed(op: "+" | "-", value: Value): Value {
  if (value instanceof Undefined) return refuse(value.why)
  if (value instanceof Float) return op === "-" ? new Float(-value.value) : value
  if (!isInteger(value)) return refuse(`bad operand type for unary ${op}: '${typeName(value)}'`)
  const number = typeof value === "boolean" ? Number(value) : value
  if (op === "+" || number === 0) return number
  return typeof number === "bigint" ? integer(-number) : -number
}

/** Rounded to so many decimals, exact halves to the even one, as Python's `round` does. */
export function rounded(value: number, decimals: number): number {
  if (!Number.isFinite(value)) return value
  if (decimals < 0) {
    const unit = 10 ** -decimals
    return rounded(value / unit, 0) * unit
  }
  if (decimals > 80) return value
  const exact = value.toFixed(Math.min(100, decimals + 20))
  const tail = exact.slice(exact.length - 20)
  if (!/^50*$/.test(tail)) return Number(value.toFixed(decimals))
  const kept = exact.slice(0, exact.length - 20).replace(/\.$/, "")
  const even = Number(kept.at(-1)) % 2 === 0
  if (even) return Number(kept)
  const away = Number(value.toFixed(decimals))
  return Math.abs(away) > Math.abs(Number(kept))
    ? away
    : Number(kept) + Math.sign(value) * 10 ** -decimals
}

/** Digits of any script as those of ASCII: each script's ten stand in a row. */
export function plainDigits(text: string): string {
  return text.replace(/\p{Nd}/gu, (digit) => {
    const code = digit.codePointAt(0)!
    if (code < 0x80) return digit
    let first = code
    while (/\p{Nd}/u.test(String.fromCodePoint(first - 1))) first--
    return String((code - first) % 10)
  })
}

const INTEGER_TEXT = /^[+-]?\d+(_\d+)*$/

/** Python's `int(text, base)`; undefined where it raises a ValueError. */
export function parsedInteger(text: string, base: number): number | bigint | undefined {
  const clean = text.toLowerCase()
  if (base === 10) return INTEGER_TEXT.test(clean) ? integer(wholeOf(clean, "")) : undefined
  const prefix = new Map([
    [2, "0b"],
    [8, "0o"],
    [16, "0x"],
  ]).get(base)
  if (prefix === undefined) return refuse(`int in base ${base} is not supported here`)
  const digits = new RegExp(`^([+-]?)(?:${prefix})?(_?[0-${base === 16 ? "9a-f" : base - 1}])+$`)
  return digits.test(clean) ? integer(wholeOf(clean, prefix)) : undefined
}

function wholeOf(text: string, prefix: string): bigint {
  const digits = text.replace(/^[+-]/, "").replaceAll("_", "")
  const value = BigInt(prefix === "" || digits.startsWith(prefix) ? digits : prefix + digits)
  return text.startsWith("-") ? -value : value
}

const FLOAT_TEXT = /^[+-]?(\d+(_\d+)*\.?(\d+(_\d+)*)?|\.\d+(_\d+)*)(e[+-]?\d+(_\d+)*)?$/i
const NAMED_FLOAT = /^([+-]?)(inf|infinity|nan)$/i

/** Python's `float(text)`; undefined where it raises a ValueError. */
export function parsedFloat(text: string): number | undefined {
  const named = NAMED_FLOAT.exec(text)
  if (named) {
    const size = named[2]!.toLowerCase() === "nan" ? Number.NaN : Number.POSITIVE_INFINITY
    return named[1] === "-" ? -size : size
  }
  return FLOAT_TEXT.test(text) ? Number(text.replaceAll("_", "")) : undefined
}
