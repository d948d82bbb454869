/**
 * Regular expressions from strangers, tried before a text meets them: nothing could end one that
 * goes back and forth for ever.
 */
import { runInNewContext } from "node:vm"
import { InputError } from "../errors.ts"

/**
 * All expressions of a file together, and for each of them beside it; a right one takes well under
 * a millisecond. A busy machine may leave this process waiting for longer than the first.
 */
const MOST_MS = [300, 3000] as const
const MOST_MS_EACH = 1
const REPEATS = 48

const PATTERN = /"Regex"\s*:\s*("(?:[^"\\]|\\.)*")/g

/** Runs of one character, of those the expression names and of every kind, that end otherwise. */
function runsOfCharacters(pattern: string): string[] {
  const named = pattern.replaceAll(/\\./g, "").match(/[\p{L}\p{N}]/gu) ?? []
  const characters = new Set([...named.slice(0, 24), ..."ax1 \n\t-.'_é漢"])
  return [...characters].map((character) => `${character.repeat(REPEATS)}\u0001`)
}

interface Tried {
  readonly pattern: string
  readonly texts: readonly string[]
}

// An expression that JavaScript does not know is its reader's to translate, or to refuse.
const TRY = `for (const { pattern, texts } of tried) {
  let expression
  try { expression = new RegExp(pattern, flags) } catch { continue }
  try { for (const text of texts) { expression.lastIndex = 0; text.replace(expression, "") } } catch {}
}`

function endWithin(tried: readonly Tried[], flags: string, milliseconds: number): boolean {
  const timeout = milliseconds + MOST_MS_EACH * tried.length
  try {
    runInNewContext(TRY, { tried, flags }, { timeout })
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ERR_SCRIPT_EXECUTION_TIMEOUT"
  }
  return true
}

function refuse(tried: readonly Tried[], flags: string, path: string): void {
  if (MOST_MS.some((timeout) => endWithin(tried, flags, timeout))) return
  const half = tried.length >> 1
  if (half > 0) {
    refuse(tried.slice(0, half), flags, path)
    refuse(tried.slice(half), flags, path)
    return
  }
  throw new InputError(
    `${path}: the expression ${JSON.stringify(tried[0]!.pattern.slice(0, 200))} takes for ever on short texts (it backtracks); write it without a repetition inside a repetition`,
  )
}

/**
 * The expressions of a tokenizer.json.
 *
 * @throws InputError naming the one that does not end
 */
export function refuseEndlessPatterns(tokenizerJson: string, path: string): void {
  const found = new Set<string>()
  for (const [, quoted] of tokenizerJson.matchAll(PATTERN)) {
    try {
      found.add(JSON.parse(quoted!) as string)
    } catch {
      // the file is damaged, which its reader says
    }
  }
  const tried = [...found].map((pattern) => ({ pattern, texts: runsOfCharacters(pattern) }))
  refuse(tried, "gu", path)
}

/**
 * Expressions that whole texts are held to, which are no stranger's.
 *
 * @throws InputError as {@link refuseEndlessPatterns}
 */
export function refuseEndlessMatches(
  patterns: Iterable<string>,
  texts: readonly string[],
  path: string,
): void {
  const tried = [...new Set(patterns)].map((pattern) => ({ pattern: `^(?:${pattern})$`, texts }))
  refuse(tried, "", path)
}
