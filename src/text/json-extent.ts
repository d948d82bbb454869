/** Where JSON values lie inside a text that goes on behind them. */

const SPACE = /\s*/y
const STRING = /"(?:[^"\\]|\\.)*"/y
const SCALAR = /-?\d[\d.eE+-]*|true|false|null/y

function behind(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at
  return pattern.test(text) ? pattern.lastIndex : -1
}

export const behindSpace = (text: string, at: number): number => behind(SPACE, text, at)

/** Behind the JSON value that begins at `at`; -1 where none is whole. */
export function valueEnd(text: string, at: number): number {
  if (text[at] === '"') return behind(STRING, text, at)
  if (text[at] !== "{" && text[at] !== "[") return behind(SCALAR, text, at)
  const closers: string[] = []
  for (let i = at; i < text.length; i++) {
    const char = text[i]!
    if (char === '"') {
      const end = behind(STRING, text, i)
      if (end < 0) return -1
      i = end - 1
    } else if (char === "{") closers.push("}")
    else if (char === "[") closers.push("]")
    else if (char === "}" || char === "]") {
      if (closers.pop() !== char) return -1
      if (closers.length === 0) return isJson(text.slice(at, i + 1)) ? i + 1 : -1
    }
  }
  return -1
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** A member of an object: its name, and where its value lies. */
export interface Member {
  readonly name: string
  readonly start: number
  readonly end: number
}

/** The members of the whole object that begins at `at`. */
export function members(text: string, at: number): Member[] {
  const found: Member[] = []
  let next = behindSpace(text, at + 1)
  while (text[next] === '"') {
    const nameEnd = valueEnd(text, next)
    const name = JSON.parse(text.slice(next, nameEnd)) as string
    const start = behindSpace(text, behindSpace(text, nameEnd) + 1)
    const end = valueEnd(text, start)
    found.push({ name, start, end })
    next = behindSpace(text, behindSpace(text, end) + 1)
  }
  return found
}
