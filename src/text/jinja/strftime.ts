import { refuse } from "./values.ts"

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]
const MONTHS = [
  ...["January", "February", "March", "April", "May", "June", "July"],
  ...["August", "September", "October", "November", "December"],
]
const DAY_MS = 86_400_000

/** Days since the year's first, from 0. */
const dayOfYear = (at: Date) =>
  Math.round(
    (Date.UTC(at.getFullYear(), at.getMonth(), at.getDate()) - Date.UTC(at.getFullYear(), 0, 1)) /
      DAY_MS,
  )

/** ISO 8601: the week belongs to the year that holds its Thursday. */
function isoWeek(at: Date): { readonly year: number; readonly week: number } {
  const weekday = (at.getDay() + 6) % 7
  const thursday = new Date(Date.UTC(at.getFullYear(), at.getMonth(), at.getDate() - weekday + 3))
  const year = thursday.getUTCFullYear()
  const days = (thursday.getTime() - Date.UTC(year, 0, 1)) / DAY_MS
  return { year, week: Math.floor(days / 7) + 1 }
}

const two = (value: number) => String(value).padStart(2, "0")
const hour12 = (at: Date) => at.getHours() % 12 || 12

/** By directive, in the C locale; a number is padded with zeros to the width beside it. */
const NUMBERS: Readonly<Record<string, readonly [value: (at: Date) => number, width: number]>> = {
  Y: [(at) => at.getFullYear(), 1],
  C: [(at) => Math.floor(at.getFullYear() / 100), 2],
  y: [(at) => at.getFullYear() % 100, 2],
  m: [(at) => at.getMonth() + 1, 2],
  d: [(at) => at.getDate(), 2],
  H: [(at) => at.getHours(), 2],
  I: [hour12, 2],
  M: [(at) => at.getMinutes(), 2],
  S: [(at) => at.getSeconds(), 2],
  f: [(at) => at.getMilliseconds() * 1000, 6],
  j: [(at) => dayOfYear(at) + 1, 3],
  u: [(at) => at.getDay() || 7, 1],
  w: [(at) => at.getDay(), 1],
  U: [(at) => Math.floor((dayOfYear(at) + 7 - at.getDay()) / 7), 2],
  W: [(at) => Math.floor((dayOfYear(at) + 7 - ((at.getDay() + 6) % 7)) / 7), 2],
  G: [(at) => isoWeek(at).year, 1],
  V: [(at) => isoWeek(at).week, 2],
}

const TEXTS: Readonly<Record<string, (at: Date) => string>> = {
  A: (at) => DAYS[at.getDay()]!,
  a: (at) => DAYS[at.getDay()]!.slice(0, 3),
  B: (at) => MONTHS[at.getMonth()]!,
  b: (at) => MONTHS[at.getMonth()]!.slice(0, 3),
  h: (at) => MONTHS[at.getMonth()]!.slice(0, 3),
  p: (at) => (at.getHours() < 12 ? "AM" : "PM"),
  P: (at) => (at.getHours() < 12 ? "am" : "pm"),
  e: (at) => String(at.getDate()).padStart(2, " "),
  k: (at) => String(at.getHours()).padStart(2, " "),
  l: (at) => String(hour12(at)).padStart(2, " "),
  c: (at) => strftime(at, "%a %b %e %H:%M:%S %Y"),
  D: (at) => strftime(at, "%m/%d/%y"),
  x: (at) => strftime(at, "%m/%d/%y"),
  F: (at) => strftime(at, "%Y-%m-%d"),
  R: (at) => strftime(at, "%H:%M"),
  r: (at) => strftime(at, "%I:%M:%S %p"),
  T: (at) => strftime(at, "%H:%M:%S"),
  X: (at) => strftime(at, "%H:%M:%S"),
  g: (at) => two(isoWeek(at).year % 100),
  n: () => "\n",
  t: () => "\t",
  z: () => "", // Python's time of the day without a zone
  Z: () => "",
  "%": () => "%",
}

/**
 * Python's `datetime.strftime` in the C locale, with glibc's `%-d` for a number without zeros.
 *
 * @throws InputError for a directive that is not known
 */
export function strftime(at: Date, format: string): string {
  return format.replace(/%(-?)([\s\S]?)/g, (whole, bare: string, letter: string) => {
    const number = Object.hasOwn(NUMBERS, letter) ? NUMBERS[letter]! : undefined
    if (number !== undefined) {
      const digits = String(number[0](at))
      return bare === "-" ? digits : digits.padStart(number[1], "0")
    }
    if (bare === "-" && letter === "e") return String(at.getDate())
    if (bare === "-" || !Object.hasOwn(TEXTS, letter)) {
      return refuse(`strftime_now(): the directive '${whole}' is not supported here`)
    }
    return TEXTS[letter]!(at)
  })
}
