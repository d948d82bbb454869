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
  return new Lexer(source.replace(/\r\n|\r/g, "\n").replace(/\n$/, "")).tokens()
}

class Lexer {
  readonly #text: string
  readonly #found: Token[] = []
  #at = 0
  #line = 1
  #isLineStarting = true

  constructor(text: string) {
    this.#text = text
  }

  tokens(): Token[] {
    while (this.#at < this.#text.length) {
      const tag = this.#match(TAG)
      if (tag === null) {
        this.#take("data", this.#text.slice(this.#at), 0)
        break
      }
      this.#tag(tag)
    }
    this.#take("end", "", 0)
    return this.#found
  }

  #tag({ 0: opening, index }: RegExpExecArray): void {
    const kind = opening[1]!
    const raw = kind === "%" ? this.#match(RAW, index) : null
    this.#words(index, opening[2] ?? "", kind !== "{")
    if (raw !== null) {
      this.#move(this.#at + raw[0].length)
      const end = this.#match(END_RAW) ?? this.#fail("Missing end of raw directive")
      this.#words(end.index, end[1]!, true)
      this.#move(this.#at + end[0].length)
    } else if (kind === "#") {
      const end =
        this.#match(COMMENT_END, this.#at + opening.length) ??
        this.#fail("Missing end of comment tag")
      this.#move(end.index + end[0].length)
    } else {
      this.#take(kind === "%" ? "block begin" : "variable begin", "", opening.length)
      this.#inside(kind === "%")
    }
  }

  /** The template's own words up to a tag, without what the tag strips. */
  #words(to: number, sign: string, isBlock: boolean): void {
    let data = this.#text.slice(this.#at, to)
    if (sign === "-") data = stripEnd(data)
    else if (sign !== "+" && isBlock) {
      const start = data.lastIndexOf("\n") + 1
      if ((start > 0 || this.#isLineStarting) && LAST_LINE_BLANK.test(data.slice(start))) {
        data = data.slice(0, start)
      }
    }
    if (data !== "") this.#take("data", data, 0)
    this.#move(to)
  }

  /** The lexemes of a tag, up to its end. */
  #inside(isBlock: boolean): void {
    const open: string[] = []
    const end = isBlock ? BLOCK_END : VARIABLE_END
    for (;;) {
      const closing = open.length === 0 ? this.#match(end) : null
      if (closing !== null) {
        this.#take(isBlock ? "block end" : "variable end", "", closing[0].length)
        return
      }
      this.#move(this.#match(BLANK) === null ? this.#at : BLANK.lastIndex)
      if (open.length === 0 && this.#match(end) !== null) continue
      if (this.#at >= this.#text.length) return
      this.#lexeme(open)
    }
  }

  #lexeme(open: string[]): void {
    const number = this.#match(FLOAT)?.[0]
    const whole = number ?? this.#match(INTEGER)?.[0]
    if (whole !== undefined) {
      const type = number === undefined ? "integer" : "float"
      this.#take(type, whole.replaceAll("_", ""), whole.length)
      return
    }
    const name = this.#match(NAME)?.[0]
    if (name !== undefined) {
      if (!IDENTIFIER.test(name)) this.#fail("Invalid character in identifier")
      this.#take("name", name, name.length)
      return
    }
    const string = this.#match(STRING)?.[0]
    if (string !== undefined) {
      const value = unescaped(string.slice(1, -1), (why) => this.#fail(why))
      this.#take("string", value, string.length)
      return
    }
    this.#operator(open)
  }

  #operator(open: string[]): void {
    const operator = this.#match(OPERATOR)?.[0]
    if (operator === undefined) {
      const character = String.fromCodePoint(this.#text.codePointAt(this.#at)!)
      throw this.#error(`unexpected char ${JSON.stringify(character)}`)
    }
    if (operator in CLOSING) open.push(CLOSING[operator]!)
    else if (")]}".includes(operator)) {
      const expected = open.pop()
      if (expected === undefined) this.#fail(`unexpected '${operator}'`)
      if (expected !== operator) this.#fail(`unexpected '${operator}', expected '${expected}'`)
    }
    this.#take(operator, operator, operator.length)
  }

  #match(pattern: RegExp, from = this.#at): RegExpExecArray | null {
    pattern.lastIndex = from
    return pattern.exec(this.#text)
  }

  /** A token of the next `length` characters. */
  #take(type: string, text: string, length: number): void {
    this.#found.push({ type, text, line: this.#line })
    this.#move(this.#at + length)
  }

  #move(to: number): void {
    const text = this.#text
    for (let i = text.indexOf("\n", this.#at); i >= 0 && i < to; i = text.indexOf("\n", i + 1)) {
      this.#line++
    }
    if (to > this.#at) this.#isLineStarting = text[to - 1] === "\n"
    this.#at = to
  }

  #error(why: string): InputError {
    return new InputError(`line ${this.#line}: ${why}`)
  }

  #fail(why: string): never {
    throw this.#error(why)
  }
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
