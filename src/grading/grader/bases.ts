import type { Answer } from "./answer.ts"

/** Numbers in other bases, with the base written out. */

const BASE_NAMES: readonly string[] =
  "two three four five six seven eight nine ten eleven twelve".split(" ")
const BASED =
  /^\{?[([]?\s*([0-9A-Fa-f][0-9A-Fa-f ]*)\s*[)\]]?\}?\s*(?:_\s*\{?\s*\(?(?:\\text\s*\{)?\s*(?:base\s*)?\}?\s*([a-z]+|\d{1,2})\s*\)?\s*\}{0,2}|(?:\\text\s*\{)?\s*\(?\s*(?:in\s+)?base[\s-]*\}?\s*([a-z]+|\d{1,2})\s*\)?\s*\}?)$/

/** `1011_2`, `(1011)_{\\text{two}}`, `123 \\text{ (base 4)}`. */
export function readBased(written: string): Answer | undefined {
  const match = BASED.exec(written.replace(/\\(?:text|mathrm)\s*\{\s*([A-F])\s*\}/g, "$1"))
  if (!match) return undefined
  const name = (match[2] ?? match[3])!
  const base = /\d/.test(name) ? Number(name) : BASE_NAMES.indexOf(name) + 2
  const digits = match[1]!.replace(/ /g, "")
  if (base < 2 || base > 16 || !/^\d|[A-F].*\d/.test(digits)) return undefined
  let value = 0n
  for (const digit of digits) {
    const size = Number.parseInt(digit, 16)
    if (size >= base) return undefined
    value = value * BigInt(base) + BigInt(size)
  }
  return { kind: "based", value, base, written }
}
