/** Brackets of every kind in LaTeX: where they pair, and what stands outside them. */

/** Splits at a separator outside every kind of bracket; LaTeX escapes are skipped over. */
export function splitTopLevel(text: string, isSeparator: (at: number) => number): string[] {
  const parts: string[] = []
  let depth = 0
  let start = 0
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!
    if (c === "\\" && /[{}]/.test(text[i + 1] ?? "")) {
      depth += text[i + 1] === "{" ? 1 : -1
      i++
      continue
    }
    if (c === "{" || c === "(" || c === "[") depth++
    else if (c === "}" || c === ")" || c === "]") depth--
    const width = depth === 0 ? isSeparator(i) : 0
    if (width > 0) {
      parts.push(text.slice(start, i))
      start = i + width
      i = start - 1
    }
  }
  parts.push(text.slice(start))
  return parts
}

/**
 * Whether the bracket at 0 closes at the very end, whatever kind closes it (half-open intervals).
 */
export function isEnclosed(text: string): boolean {
  const opening = text.startsWith("\\{") ? 2 : 1
  if (!/^(?:\\\{|[([])/.test(text) || !/(?:\\\}|[)\]])$/.test(text)) return false
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!
    if (/[([{]/.test(c)) depth++
    else if (/[)\]}]/.test(c)) depth--
    if (depth === 0 && i >= opening - 1) return i === text.length - 1
  }
  return false
}

/** Whether braces pair up; escaped ones count among themselves. */
export function bracesBalance(text: string): boolean {
  let depth = 0
  let escaped = 0
  for (let i = 0; i < text.length; i++) {
    if (text[i] === "\\") {
      if (text[i + 1] === "{") escaped++
      else if (text[i + 1] === "}") escaped--
      i++
    } else if (text[i] === "{") depth++
    else if (text[i] === "}" && --depth < 0) return false
  }
  return depth === 0 && escaped === 0
}

/** The index of the brace that closes the one at `open`. */
export function closingBrace(text: string, open: number): number | undefined {
  let depth = 0
  for (let i = open; i < text.length; i++) {
    const c = text[i]
    if (c === "\\") i++
    else if (c === "{") depth++
    else if (c === "}" && --depth === 0) return i
  }
  return undefined
}

/** Whether the brace at 0 closes at the very end. */
export const isBraced = (text: string): boolean =>
  text.startsWith("{") && closingBrace(text, 0) === text.length - 1
