/**
 * Lines of JSON that say the same but for their numbers and their time. Of such a line the numbers
 * are read where they stand, and no object is made.
 */
export interface LinePattern {
  /** What stands before each gap, and after the last, the newline among it. */
  readonly literals: readonly Buffer[]
  /**
   * Of each gap whether it is the text of `time`, its quotes left to the literals; else a number.
   */
  readonly isTime: readonly boolean[]
}

/** Lines, as bytes and as a text of a character a byte (latin1). */
export interface Lines {
  readonly bytes: Buffer
  readonly text: string
}

const [QUOTE, BACKSLASH, MINUS, PLUS, DOT, ZERO] = [0x22, 0x5c, 0x2d, 0x2b, 0x2e, 0x30]
const isDigit = (byte: number | undefined) => byte !== undefined && byte >= ZERO && byte < ZERO + 10
/** With `time` before it, as both engines write it. */
const TEXT_OR_NUMBER = /("time": ?)?"((?:[^"\\]|\\.)*)"|-?\d[-+.\deE]*/g

/** Of a line that is JSON, with its newline. */
export function patternOf(line: Buffer): LinePattern {
  const text = line.toString("latin1")
  const literals: Buffer[] = []
  const isTime: boolean[] = []
  let from = 0
  for (const { 0: found, 1: key, 2: words, index } of text.matchAll(TEXT_OR_NUMBER)) {
    if (words !== undefined && key === undefined) continue
    const end = index + found.length
    const [begin, behind] = words === undefined ? [index, end] : [end - 1 - words.length, end - 1]
    literals.push(line.subarray(from, begin))
    isTime.push(words !== undefined)
    from = behind
  }
  literals.push(line.subarray(from))
  return { literals, isTime }
}

/** What `JSON.parse` makes of the pattern when each gap holds its own place among the gaps. */
export function placesIn({ literals, isTime }: LinePattern): unknown {
  return JSON.parse(literals.map((part, i) => `${part}${i < isTime.length ? i : ""}`).join(""))
}

/** Powers of ten that float64 holds exactly. */
const POWERS = Array.from({ length: 23 }, (_, power) => Number(`1e${power}`))

/** Reads lines of one pattern into `numbers`: what stands in each gap, a time in ms since 1970. */
export class PatternReader {
  readonly numbers: number[]
  readonly #pattern: LinePattern
  /** Where the gap that was read last ends. */
  #end = 0

  constructor(pattern: LinePattern) {
    this.#pattern = pattern
    this.numbers = pattern.isTime.map(() => 0)
  }

  /**
   * The byte after the line that begins here; undefined where it is another, and no number counts.
   */
  read(lines: Lines, start: number): number | undefined {
    const { literals, isTime } = this.#pattern
    const { bytes } = lines
    this.#end = start
    for (let i = 0; i < literals.length; i++) {
      const literal = literals[i]!
      const at = this.#end
      for (let k = 0; k < literal.length; k++) if (bytes[at + k] !== literal[k]) return undefined
      this.#end = at + literal.length
      if (i === isTime.length) break
      const value = isTime[i] ? this.#time(lines) : this.#number(lines)
      if (value === undefined) return undefined
      this.numbers[i] = value
    }
    return this.#end
  }

  #time({ bytes, text }: Lines): number | undefined {
    const from = this.#end
    let at = from
    for (; bytes[at] !== QUOTE; at++) {
      const byte = bytes[at]
      if (byte === undefined || byte < 0x20 || byte > 0x7e || byte === BACKSLASH) return undefined
    }
    this.#end = at
    return Date.parse(text.slice(from, at))
  }

  /** By JSON's grammar, rounded as `JSON.parse` rounds. */
  #number({ bytes, text }: Lines): number | undefined {
    const from = this.#end
    const isNegative = bytes[from] === MINUS
    const first = isNegative ? from + 1 : from
    let at = first
    let digits = 0
    for (; isDigit(bytes[at]); at++) digits = 10 * digits + (bytes[at]! - ZERO)
    if (at === first || (bytes[first] === ZERO && at > first + 1)) return undefined
    let power = 0
    if (bytes[at] === DOT) {
      const point = ++at
      for (; isDigit(bytes[at]); at++) digits = 10 * digits + (bytes[at]! - ZERO)
      power = point - at
      if (power === 0) return undefined
    }
    if (bytes[at] === 0x65 || bytes[at] === 0x45) {
      const sign = bytes[++at]
      if (sign === MINUS || sign === PLUS) at++
      const behind = at
      let exponent = 0
      for (; isDigit(bytes[at]); at++) exponent = 10 * exponent + (bytes[at]! - ZERO)
      if (at === behind) return undefined
      power += sign === MINUS ? -exponent : exponent
    }
    this.#end = at
    // both are exact so far, so that one operation rounds once (Clinger 1990)
    if (digits > Number.MAX_SAFE_INTEGER || power < -22 || power > 22) {
      return Number(text.slice(from, at))
    }
    const size = power < 0 ? digits / POWERS[-power]! : digits * POWERS[power]!
    return isNegative ? -size : size
  }
}
