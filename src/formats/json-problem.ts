/**
 * Where a text stops being JSON, and what stands there: parsers say it in their own words, or not
 * at all.
 */
export interface JsonProblem {
  /** In UTF-16 units, from 0; the text's length where it ends too early. */
  readonly at: number
  /** What JSON would have there: "a value". */
  readonly expected: string
  /** What stands there: a word, a sign, the end of the text. */
  readonly got: string
}

const SPACE = /[ \t\n\r]*/y
const SCALAR = /(?:-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?|true|false|null)(?![\w.+-])/y
/** The word shown of the offending text, where it is more than one character. */
const WORD = /[\w.+-]{1,40}/y

/** The first problem of a text; undefined for one that is JSON. */
export function jsonProblem(text: string): JsonProblem | undefined {
  let at = 0
  const matches = (pattern: RegExp): boolean => {
    pattern.lastIndex = at
    const found = pattern.exec(text)
    if (found === null) return false
    at += found[0].length
    return true
  }
  const wrong = (expected: string): JsonProblem => ({ at, expected, got: shown(text, at) })
  /** What each open list or object is in: "[" or "{". */
  const open: string[] = []
  let place: "value" | "first" | "key" | "after" = "value"
  for (;;) {
    matches(SPACE)
    const c = text[at]
    if (place === "after") {
      const inside = open.at(-1)
      if (inside === undefined) return c === undefined ? undefined : wrong("nothing more")
      const close = inside === "[" ? "]" : "}"
      if (c === close) {
        open.pop()
        at++
      } else if (c === ",") {
        place = inside === "[" ? "value" : "key"
        at++
      } else return wrong(`a comma or ${close}`)
      continue
    }
    if (place === "first" && c === (open.at(-1) === "[" ? "]" : "}")) {
      open.pop()
      at++
      place = "after"
      continue
    }
    if (place === "key" || (place === "first" && open.at(-1) === "{")) {
      if (c !== '"') return wrong("a key in double quotes")
      const end = stringEnd(text, at)
      if (typeof end !== "number") return end
      at = end
      matches(SPACE)
      if (text[at] !== ":") return wrong("a colon after the key")
      at++
      place = "value"
      continue
    }
    if (c === "[" || c === "{") {
      open.push(c)
      at++
      place = "first"
    } else if (c === '"') {
      const end = stringEnd(text, at)
      if (typeof end !== "number") return end
      at = end
      place = "after"
    } else if (matches(SCALAR)) place = "after"
    else return wrong("a value")
  }
}

/** What stands at a place: a word, a sign, or the text's end. */
function shown(text: string, at: number): string {
  if (at >= text.length) return "the end of the text"
  const isBehindComma = /[\]}]/.test(text[at]!) && text.slice(0, at).trimEnd().endsWith(",")
  if (isBehindComma) return `${text[at]} behind a comma`
  WORD.lastIndex = at
  const word = WORD.exec(text)?.[0]
  if (word !== undefined) return word
  const sign = String.fromCodePoint(text.codePointAt(at)!)
  return /[\p{Cc}\p{Cf}\p{Cs}]/u.test(sign)
    ? `the character U+${sign.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}`
    : sign
}

/** Behind a string's closing quote; or a control character, an unknown escape, no end. */
function stringEnd(text: string, start: number): number | JsonProblem {
  const expected = 'a " at the end of the text'
  for (let at = start + 1; at < text.length; at++) {
    const c = text[at]!
    if (c === '"') return at + 1
    if (c < " ") return { at, expected, got: c === "\n" ? "a line break" : shown(text, at) }
    if (c !== "\\") continue
    const escaped = text.slice(at, at + (text[at + 1] === "u" ? 6 : 2))
    if (/^\\(?:["\\/bfnrt]|u[\da-fA-F]{4})$/.test(escaped)) at += escaped.length - 1
    else if (escaped.length > 1) return { at, expected: "an escape that JSON knows", got: escaped }
  }
  return { at: text.length, expected, got: "the end of the text" }
}
