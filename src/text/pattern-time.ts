/** Regular expressions from strangers' tokenizers, tried before a text meets them. */
import { runInNewContext } from "node:vm"
import { InputError } from "../errors.ts"

/**
 * All probes of one expression together; a right one takes well under a millisecond. A busy machine
 * may leave this process waiting for longer than the first.
 */
const MOST_MS = [300, 3000] as const
const MAX_PATTERNS = 64
const REPEATS = 48

const PATTERN = /"Regex"\s*:\s*("(?:[^"\\]|\\.)*")/g

/** Runs of one character, of those the expression names and of every kind, that end otherwise. */
function probes(pattern: string): string[] {
  const named = pattern.replaceAll(/\\./g, "").match(/[\p{L}\p{N}]/gu) ?? []
  const characters = new Set([...named.slice(0, 24), ..."ax1 \n\t-.'_é漢"])
  return [...characters].map((character) => `${character.repeat(REPEATS)}\u0001`)
}

const TRY = `const expression = new RegExp(pattern, "gu")
for (const text of texts) { expression.lastIndex = 0; text.replace(expression, "") }`

/**
 * Refuses a tokenizer.json with an expression that goes back and forth for ever: nothing could end
 * it while it reads a row.
 *
 * @throws InputError naming the expression
 */
export function refuseEndlessPatterns(tokenizerJson: string, path: string): void {
  const found = new Set([...tokenizerJson.matchAll(PATTERN)].map((match) => match[1]!))
  for (const quoted of [...found].slice(0, MAX_PATTERNS)) {
    let pattern: string
    try {
      pattern = JSON.parse(quoted) as string
    } catch {
      continue // the file is damaged, which its reader says
    }
    if (MOST_MS.some((timeout) => endsWithin(pattern, timeout))) continue
    throw new InputError(
      `${path}: the expression ${JSON.stringify(pattern.slice(0, 200))} takes for ever on short texts (it backtracks); write it without a repetition inside a repetition`,
    )
  }
}

function endsWithin(pattern: string, timeout: number): boolean {
  try {
    runInNewContext(TRY, { pattern, texts: probes(pattern) }, { timeout })
  } catch (error) {
    // one that JavaScript does not know is the library's to translate, or to refuse
    return (error as NodeJS.ErrnoException).code !== "ERR_SCRIPT_EXECUTION_TIMEOUT"
  }
  return true
}
