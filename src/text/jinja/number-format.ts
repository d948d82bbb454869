import { spendText } from "./budget.ts"
import { codePointLength } from "./code-points.ts"
import { rounded } from "./numbers.ts"
import { refuse } from "./values.ts"

/** JavaScript formats no more decimals than this. */
const MAX_DECIMALS = 80

/** How a number is written: `letter` is Python's presentation type, in lower case. */
export function floatDigits(value: number, letter: string, precision: number, alternate: boolean) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "nan" : "inf"
  if (precision > MAX_DECIMALS) refuse(`more than ${MAX_DECIMALS} decimals are not supported here`)
  const size = Math.abs(value)
  if (letter === "f") return fixed(size, precision, alternate)
  if (letter === "e") return exponential(size, precision, alternate)
  const significant = Math.max(1, precision)
  const exponent = Number(exponential(size, significant - 1, false).split("e")[1])
  const isFixed = exponent >= -4 && exponent < significant
  const digits = isFixed
    ? fixed(size, significant - 1 - exponent, alternate)
    : exponential(size, significant - 1, alternate)
  return alternate ? digits : withoutZeros(digits)
}

function withoutZeros(digits: string): string {
  const [mantissa, exponent] = digits.split("e") as [string, string | undefined]
  const short = mantissa.includes(".") ? mantissa.replace(/\.?0+$/, "") : mantissa
  return exponent === undefined ? short : `${short}e${exponent}`
}

function fixed(size: number, decimals: number, alternate: boolean): string {
  const whole = size >= 1e21
  const digits = whole ? BigInt(size).toString() : rounded(size, decimals).toFixed(decimals)
  const padded = whole && decimals > 0 ? `${digits}.${"0".repeat(decimals)}` : digits
  return alternate && decimals === 0 ? `${padded}.` : padded
}

/** Halves go to the even digit, as in C; JavaScript takes the larger. */
function exponential(size: number, decimals: number, alternate: boolean): string {
  const exact = size.toExponential(decimals + 20).split("e") as [string, string]
  const [kept, tail] = [exact[0].slice(0, -20).replace(/\.$/, ""), exact[0].slice(-20)]
  const toEven = /^50*$/.test(tail) && Number(kept.at(-1)) % 2 === 0
  const [mantissa, power] = toEven
    ? [kept, exact[1]]
    : (size.toExponential(decimals).split("e") as [string, string])
  const sign = power.startsWith("-") ? "-" : "+"
  const point = alternate && decimals === 0 ? "." : ""
  return `${mantissa}${point}e${sign}${power.replace(/^[-+]/, "").padStart(2, "0")}`
}

export interface Padding {
  readonly fill: string
  readonly align: "<" | ">" | "^" | "="
  readonly width: number
}

/** Text brought to a width, a sign or prefix before the fill where that is `=`. */
export function padded(body: string, { fill, align, width }: Padding, lead = ""): string {
  const missing = width - codePointLength(lead) - codePointLength(body)
  if (missing <= 0) return lead + body
  spendText(width)
  if (align === "<") return lead + body + fill.repeat(missing)
  if (align === ">") return fill.repeat(missing) + lead + body
  if (align === "=") return lead + fill.repeat(missing) + body
  const before = Math.floor(missing / 2)
  return fill.repeat(before) + lead + body + fill.repeat(missing - before)
}

/** Digits before the point in groups of three. */
export function grouped(digits: string, separator: string): string {
  const [, whole, rest] = /^(\d*)([\s\S]*)$/.exec(digits)!
  return whole!.replace(/\B(?=(\d{3})+$)/g, separator) + rest
}
