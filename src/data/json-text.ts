import { InputError } from "../errors.ts"
import { parseExactJson } from "../formats/exact-json.ts"
import { jsonProblem } from "../formats/json-problem.ts"

/**
 * A row's JSON. Numbers that are none (NaN, Infinity: Python writes them) are nothing; undefined
 * for what is no JSON.
 */
export function parseRow(line: string): unknown {
  const text = line.replace(/^\uFEFF/, "") // of files that were put together
  try {
    return parseExactJson(text)
  } catch {
    const numbers = text.replaceAll(NOT_FINITE, (found, none?: string) => (none ? "null" : found))
    if (numbers === text) return undefined
    try {
      return parseExactJson(numbers)
    } catch {
      return undefined
    }
  }
}

/** Strings are passed over. */
const NOT_FINITE = /"[^"\\]*(?:\\.[^"\\]*)*"|(?<![\w.])(-?Infinity|NaN)(?![\w.])/g

/** @throws InputError naming what stands where JSON has something else */
export function parseJsonLine(text: string, where: string): unknown {
  const value = parseRow(text)
  if (value !== undefined) return value
  throw new InputError(`${where}: ${lineProblem(text)}`)
}

function lineProblem(text: string): string {
  const known = foreign(text)
  if (known !== undefined) return `expected a JSON object on this line; ${known}`
  const problem = jsonProblem(text)
  if (problem === undefined) return "expected a JSON object on this line; it nests too deep"
  const { at, expected, got } = problem
  const hint = PYTHON.test(got) || got === "'" ? " (Python's; write rows with json.dumps)" : ""
  if (at >= text.trimEnd().length)
    return "expected a JSON object on this line; the line ends too early"
  return `expected a JSON object on this line; it goes wrong ${placeIn(text, at)}: expected ${expected}, got ${got}${hint}`
}

/** An object of a list may go on over many lines. */
function placeIn(text: string, at: number): string {
  const lines = text.slice(0, at).split("\n")
  const below = lines.length - 1
  const lower = below === 0 ? "" : `${below} ${below === 1 ? "line" : "lines"} below, `
  return `${lower}at character ${lines.at(-1)!.length + 1}`
}

const PYTHON = /^(None|True|False)$/

/** What a decoder says that read past the end of its bytes. */
const PAST_END = /outside the bounds|out of bounds|Invalid (typed array|DataView)|ends too early/i

/** What a reader of packed bytes tripped over, in words of ours where its own are of its inside. */
export const damageIn = ({ message }: Error): string =>
  PAST_END.test(message) ? "it is empty, cut off or damaged" : message

/** What a file without rows in it may be; undefined for a text like any other. */
export function foreign(start: string): string | undefined {
  if (/^\s*<(!doctype|html|\?xml)/i.test(start))
    return "this is a web page, not rows; the download may have failed"
  if (/^version https:\/\/git-lfs/.test(start))
    return "this is a pointer of Git LFS, not the file itself; git lfs pull fetches it"
  if (/^\0+/.test(start)) return "there are zero bytes; a write of the file was cut off"
  return undefined
}
