/**
 * What `JSON.parse` loses of a row, kept beside it: the digits of large integers, that `2.0` is a
 * float, and the order of keys that look like numbers. A chat template prints all three.
 */

/** Under this symbol an object or list holds its `Lost`; a copy by spreading keeps it. */
const LOST = Symbol("what JSON.parse loses")

interface Lost {
  /** Keys in the text's order. */
  readonly keys: readonly string[]
  readonly numbers: ReadonlyMap<string, bigint | ExactFloat>
}

/** A number that is written as a float though it is whole: `2.0`, `1e3`. */
export class ExactFloat {
  readonly value: number
  constructor(value: number) {
    this.value = value
  }
}

/** May match inside a string, and then costs a second look. */
const SUSPECT = /"\d+"\s*:|[:[,]\s*-?(?:\d{16}|\d+\.0+[\s,\]}]|[\d.]+[eE])/

/** `JSON.parse`, with what that loses kept for `exactMembers`. @throws SyntaxError as it does */
export function parseExactJson(text: string): unknown {
  const value: unknown = JSON.parse(text)
  if (typeof value === "object" && value !== null && SUSPECT.test(text)) noteLost(text, value)
  return value
}

type Container = Record<string, unknown>

/**
 * The names and members of an object, or the places and items of a list, as the text wrote them.
 */
export function exactMembers(value: object): (readonly [key: string, member: unknown])[] {
  const lost = (value as { readonly [LOST]?: Lost })[LOST]
  if (lost === undefined) return Object.entries(value)
  const known = lost.keys.filter((key) => Object.hasOwn(value, key))
  const order = new Set([...known, ...Object.keys(value)])
  return Array.from(order, (key) => {
    const member = (value as Container)[key]
    const exact = lost.numbers.get(key)
    const still = exact instanceof ExactFloat ? exact.value : Number(exact)
    return [key, exact !== undefined && Object.is(member, still) ? exact : member] as const
  })
}

/** A member of an object as the text wrote it. */
export const exactMember = (value: object, key: string): unknown =>
  (value as { readonly [LOST]?: Lost })[LOST]?.numbers.get(key) ?? (value as Container)[key]

const TOKEN = /\s*(?:"(?:[^"\\]|\\.)*"|[-+.\deE]+|true|false|null|[{}[\]:,])/y
const WHOLE = /^-?\d+$/

/** Walks through a text that `JSON.parse` has read, beside what it made of it. */
function noteLost(text: string, whole: object): void {
  TOKEN.lastIndex = 0
  const next = () => TOKEN.exec(text)![0].trim()

  const walk = (container: object, isList: boolean): void => {
    const keys: string[] = []
    const numbers = new Map<string, bigint | ExactFloat>()
    for (let token = next(); token !== "}" && token !== "]"; token = next()) {
      if (token === ",") continue
      let key = String(keys.length)
      if (!isList) {
        key = JSON.parse(token)
        next() // the colon
        token = next()
      }
      keys.push(key)
      const member = (container as Container)[key]
      if (token === "{" || token === "[") {
        // of two members of one name the last counts
        walk(typeof member === "object" && member !== null ? member : [], token === "[")
      } else if (typeof member === "number") {
        const exact = exactNumber(token, member)
        if (exact === undefined) numbers.delete(key)
        else numbers.set(key, exact)
      }
    }
    if (numbers.size > 0 || (!isList && keys.some((key) => /^\d+$/.test(key)))) {
      Object.defineProperty(container, LOST, { value: { keys, numbers }, enumerable: true })
    }
  }
  walk(whole, next() === "[")
}

/** A number's text where the number alone does not tell it. */
function exactNumber(token: string, value: number): bigint | ExactFloat | undefined {
  if (!Number.isInteger(value)) return undefined
  if (!WHOLE.test(token)) return new ExactFloat(value)
  return Number.isSafeInteger(value) ? undefined : BigInt(token)
}
