import { InputError } from "../../errors.ts"
import type { Token } from "./lexer.ts"

/** Where a parser is among a template's tokens. */
export class TokenCursor {
  private readonly all: readonly Token[]
  private at = 0

  constructor(all: readonly Token[]) {
    this.all = all
  }

  get current(): Token {
    return this.all[this.at]!
  }
  get line(): number {
    return this.current.line
  }
  look(): Token {
    return this.all[Math.min(this.at + 1, this.all.length - 1)]!
  }
  next(): Token {
    const token = this.current
    if (token.type !== "end") this.at++
    return token
  }
  is(...types: readonly string[]): boolean {
    return types.includes(this.current.type)
  }
  /** Whether the current token is one of these words. */
  isWord(...words: readonly string[]): boolean {
    return this.current.type === "name" && words.includes(this.current.text)
  }
  skip(type: string): boolean {
    const found = this.current.type === type
    if (found) this.next()
    return found
  }
  skipWord(word: string): boolean {
    const found = this.isWord(word)
    if (found) this.next()
    return found
  }
  expect(type: string): Token {
    if (this.current.type !== type) this.fail(`expected token '${type}', got '${this.described}'`)
    return this.next()
  }
  expectWord(word: string): void {
    if (!this.skipWord(word)) this.fail(`expected '${word}', got '${this.described}'`)
  }
  get described(): string {
    const { type, text } = this.current
    if (type === "end") return "end of template"
    return type === "name" || type === "string" ? text : type
  }
  fail(why: string, line = this.line): never {
    throw new InputError(`line ${line}: ${why}`)
  }
}
