/** What Python calls white space (`str.isspace`), which is not what JavaScript trims. */
const SPACES =
  "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000"

/** As a class in a regular expression. */
export const SPACE = `[${SPACES}]`
const EDGE_START = new RegExp(`^${SPACE}+`)
const ONLY_SPACE = new RegExp(`^${SPACE}+$`)
const ONE = new RegExp(`^${SPACE}$`)

export const isSpace = (text: string): boolean => ONLY_SPACE.test(text)

export const stripStart = (text: string): string => text.replace(EDGE_START, "")

export function stripEnd(text: string): string {
  let end = text.length
  while (end > 0 && ONE.test(text[end - 1]!)) end--
  return text.slice(0, end)
}

/** The words between runs of white space. */
export function spacedWords(text: string): string[] {
  return text.split(new RegExp(`${SPACE}+`)).filter((word) => word !== "")
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they end a line in Python
const LINE_END = /\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]/g

/** Python's `str.splitlines`: more characters end a line than in JavaScript. */
export function splitLines(text: string, keepEnds = false): string[] {
  const lines: string[] = []
  let from = 0
  for (const { 0: end, index } of text.matchAll(LINE_END)) {
    lines.push(text.slice(from, keepEnds ? index + end.length : index))
    from = index + end.length
  }
  if (from < text.length) lines.push(text.slice(from))
  return lines
}
