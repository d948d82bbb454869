import { InputError } from "../../errors.ts"
import { SPACE, stripEnd } from "./python-space.ts"

/** A token of jinja2/lexer.py. An operator's type is its own text. */
export interface Token {
  readonly type: string
  readonly text: string
  readonly line: number
}

const TAG = /\{[{%#][-+]?/g
const RAW = new RegExp(`\\{%[-+]?${SPACE}*raw${SPACE}*(?:-%\\}${SPACE}*|%\\})`, "y")
const END_RAW = new RegExp(
  `\\{%([-+]?)${SPACE}*endraw${SPACE}*(?:\\+%\\}|-%\\}${SPACE}*|%\\}\\n?)`,
  "g",
)
const COMMENT_END = new RegExp(`\\+#\\}|-#\\}${SPACE}*|#\\}\\n?`, "g")
const BLOCK_END = new RegExp(`\\+%\\}|-%\\}${SPACE}*|%\\}\\n?`, "y")
const VARIABLE_END = new RegExp(`-\\}\\}${SPACE}*|\\}\\}`, "y")
const BLANK = new RegExp(`${SPACE}+`, "y")
const LAST_LINE_BLANK = new RegExp(`^${SPACE}+$`)
const FLOAT = /(?<!\.)(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?[eE][+-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+)/y
const INTEGER =
  /0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0[xX](?:_?[\da-fA-F])+|[1-9](?:_?\d)*|0(?:_?0)*/y
const NAME = /[\p{L}\p{N}\p{M}\p{Pc}]+/uy
const IDENTIFIER = /^[\p{XID_Start}_]\p{XID_Continue}*$/u
const STRING = /'[^'\\]*(?:\\[\s\S][^'\\]*)*'|"[^"\\]*(?:\\[\s\S][^"\\]*)*"/y
const OPERATOR = /\/\/|\*\*|==|!=|>=|<=|[-+/*%~[\](){}><=.:|,;]/y
const CLOSING: Readonly<Record<string, string>> = { "(": ")", "[": "]", "{": "}" }

/**
 * The tokens of a template, as Jinja2 cuts it with `trim_blocks` and `lstrip_blocks`: a line break
 * after a block goes, and so does the space before one that begins its line.
 *
 * @throws InputError naming the line
 */
export function tokens(source: string): Token[] {
  const text = source.replace(/\r\n|\r/g, "\n").replace(/\n$/, "")
  const found: Token[] = []
  let at = 0
  let line = 1
  let lineStarting = true

  const fail = (why: string): never => {
    throw new InputError(`line ${line}: ${why}`)
  }
  const take = (type: string, value: string) => found.push({ type, text: value, line })
  const move = (to: number) => {
    for (let i = text.indexOf("\n", at); i >= 0 && i < to; i = text.indexOf("\n", i + 1)) line++
    lineStarting = to > at ? text[to - 1] === "\n" : lineStarting
    at = to
  }
  const match = (pattern: RegExp, from = at) => {
    pattern.lastIndex = from
    return pattern.exec(text)
  }
  /** The template's own words up to a tag, without what the tag strips. */
  const words = (to: number, sign: string, isBlock: boolean) => {
    let data = text.slice(at, to)
    if (sign === "-") data = stripEnd(data)
    else if (sign !== "+" && isBlock) {
      const start = data.lastIndexOf("\n") + 1
      if ((start > 0 || lineStarting) && LAST_LINE_BLANK.test(data.slice(start))) {
        data = data.slice(0, start)
      }
    }
    if (data !== "") take("data", data)
    move(to)
  }
  const inside = (isBlock: boolean) => {
    const open: string[] = []
    const end = isBlock ? BLOCK_END : VARIABLE_END
    for (;;) {
      const closing = open.length === 0 ? match(end) : null
      if (closing !== null) {
        take(isBlock ? "block end" : "variable end", "")
        return move(at + closing[0].length)
      }
      move(match(BLANK) === null ? at : BLANK.lastIndex)
      if (open.length === 0 && match(end) !== null) continue
      if (at >= text.length) return
      lexeme(open)
    }
  }
  const lexeme = (open: string[]) => {
    const number = match(FLOAT)?.[0]
    if (number !== undefined) take("float", number.replaceAll("_", ""))
    const whole = number ?? match(INTEGER)?.[0]
    if (number === undefined && whole !== undefined) take("integer", whole.replaceAll("_", ""))
    if (whole !== undefined) return move(at + whole.length)
    const name = match(NAME)?.[0]
    if (name !== undefined) {
      if (!IDENTIFIER.test(name)) fail("Invalid character in identifier")
      take("name", name)
      return move(at + name.length)
    }
    const string = match(STRING)?.[0]
    if (string !== undefined) {
      take("string", unescaped(string.slice(1, -1), fail))
      return move(at + string.length)
    }
    const operator = match(OPERATOR)?.[0]
    if (operator === undefined) {
      return fail(`unexpected char ${JSON.stringify(String.fromCodePoint(text.codePointAt(at)!))}`)
    }
    if (operator in CLOSING) open.push(CLOSING[operator]!)
    else if (")]}".includes(operator)) {
      const expected = open.pop()
      if (expected === undefined) fail(`unexpected '${operator}'`)
      if (expected !== operator) fail(`unexpected '${operator}', expected '${expected}'`)
    }
    take(operator, operator)
    move(at + operator.length)
  }

  while (at < text.length) {
    const tag = match(TAG)
    if (tag === null) {
      take("data", text.slice(at))
      break
    }
    const [opening] = tag
    const kind = opening[1]!
    const raw = kind === "%" ? match(RAW, tag.index) : null
    words(tag.index, opening[2] ?? "", kind !== "{")
    if (raw !== null) {
      move(at + raw[0].length)
      const end = match(END_RAW) ?? fail("Missing end of raw directive")
      words(end.index, end[1]!, true)
      move(at + end[0].length)
    } else if (kind === "#") {
      const end = match(COMMENT_END, at + opening.length) ?? fail("Missing end of comment tag")
      move(end.index + end[0].length)
    } else {
      take(kind === "%" ? "block begin" : "variable begin", "")
      move(at + opening.length)
      inside(kind === "%")
    }
  }
  take("end", "")
  return found
}

const ESCAPES: Readonly<Record<string, string>> = {
  ...{ "\n": "", "\\": "\\", "'": "'", '"': '"', a: "\x07", b: "\b", f: "\f", n: "\n", r: "\r" },
  ...{ t: "\t", v: "\v" },
}
const ESCAPE = /\\(?:([0-7]{1,3})|x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|([\s\S]))/g

/** Python's escapes in a string literal. An unknown escape stays as written. */
function unescaped(body: string, fail: (why: string) => never): string {
  return body.replace(ESCAPE, (whole, octal, byte, unit, long, other) => {
    if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8))
    const code = Number.parseInt(byte ?? unit ?? long ?? "", 16)
    if (code > 0x10ffff) fail("illegal Unicode character")
    if (!Number.isNaN(code)) return String.fromCodePoint(code)
    if ("xuUN".includes(other)) fail(`the escape \\${other} in a string is cut short or not known`)
    return ESCAPES[other] ?? whole
  })
}
