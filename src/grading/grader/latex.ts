/** Text to text: an answer's LaTeX or plain writing in one spelling. Nothing here judges. */

const UNICODE: readonly (readonly [RegExp, string])[] = [
  [/[\u2212\u2013\u2014]/g, "-"],
  [/[\u00a0\u2009\u202f]/g, " "],
  [/×/g, "\\times "],
  [/[·⋅]/g, "\\cdot "],
  [/÷/g, "/"],
  [/π/g, "\\pi "],
  [/∞/g, "\\infty "],
  [/≤/g, "\\le "],
  [/≥/g, "\\ge "],
  [/≠/g, "\\ne "],
  [/≈/g, "\\approx "],
  [/±/g, "\\pm "],
  [/∪/g, "\\cup "],
  [/∈/g, "\\in "],
  [/√\(/g, "\\sqrt("],
  [/√\s*(\d+|[a-z])/g, "\\sqrt{$1}"],
  [/²/g, "^2"],
  [/³/g, "^3"],
  [/½/g, "\\frac{1}{2}"],
  [/¼/g, "\\frac{1}{4}"],
  [/¾/g, "\\frac{3}{4}"],
  [/°/g, "^\\circ"],
  [/[€£¥₹]/g, ""],
  [/[“”]/g, '"'],
  [/[‘’]/g, "'"],
]

const SPELLINGS: readonly (readonly [RegExp, string])[] = [
  [/\\\\(?=[a-zA-Z]{2,})/g, "\\"], // doubled by a careless JSON export
  [
    /\\(?:displaystyle|textstyle|limits|nolimits|bigl?|Bigl?|bigr|Bigr|biggl?|biggr)(?![a-zA-Z])/g,
    "",
  ],
  [/\\(?:left|right)\s*(?![a-zA-Z])\.?/g, ""],
  [/\\[dtc]frac(?![a-zA-Z])/g, "\\frac"],
  [/\\[dt]binom(?![a-zA-Z])/g, "\\binom"],
  [/\\(?:geqslant|geq|gt)(?![a-zA-Z])/g, (m: string) => (m === "\\gt" ? ">" : "\\ge ")],
  [/\\(?:leqslant|leq|lt)(?![a-zA-Z])/g, (m: string) => (m === "\\lt" ? "<" : "\\le ")],
  [/\\(?:neq|ne)(?![a-zA-Z])/g, "\\ne "],
  [/\\(?:le|ge)(?![a-zA-Z])/g, "$& "],
  [/>=/g, "\\ge "],
  [/<=/g, "\\le "],
  [/!=(?!=)/g, "\\ne "],
  [/\\(?:lbrace|lbrack)(?![a-zA-Z])/g, (m: string) => (m.endsWith("brace") ? "\\{" : "[")],
  [/\\(?:rbrace|rbrack)(?![a-zA-Z])/g, (m: string) => (m.endsWith("brace") ? "\\}" : "]")],
  [/\\(?:lvert|rvert|vert)(?![a-zA-Z])/g, "|"],
  [/\\[lr]angle(?![a-zA-Z])/g, (m: string) => (m === "\\langle" ? "(" : ")")],
  [/\\(?:degree|degrees)(?![a-zA-Z])/g, "^\\circ"],
  [/\^\s*\{\s*\\circ\s*\}/g, "^\\circ"],
  [/\{\s*,\s*\}/g, ","],
  [/\{\s*\.\s*\}/g, "."],
  [/,\s*\\!\s*/g, ","],
  [/(?<!\\)\\[!;:]/g, ""],
  [/(\d)\\,(?=\d{3}(?!\d))/g, "$1"],
  [/(?<!\\)\\[, ]|~/g, " "],
  [/\\q?quad(?![a-zA-Z])/g, " , "],
  [/\\arc(sin|cos|tan)h?(?![a-zA-Z])/g, "$&"],
  [/\\operatorname\*?\s*\{\s*(sin|cos|tan|log|ln|gcd|lcm|max|min)\s*\}/g, "\\$1 "],
  [/\\sqrt\s*(\d)/g, "\\sqrt{$1}"],
  [/\\sqrt\s*\(([^()]*)\)/g, "\\sqrt{$1}"],
  [/(?<![\\a-zA-Z])sqrt\s*\(([^()]*)\)/g, "\\sqrt{$1}"],
  [/(?<![\\a-zA-Z])sqrt\s*(\d+)/g, "\\sqrt{$1}"],
  [/(?<![\\a-zA-Z])(pi)(?![a-zA-Z])/g, "\\pi "],
  [/(?<![\\a-zA-Z])(sin|cos|tan|log|ln)(?![a-zA-Z])/g, "\\$1 "],
  [/\*\*/g, "^"],
  [/\^\s*\(([^()]*)\)/g, "^{$1}"],
  [/\\(?:bold|boldsymbol|mathbf|mathit|mathsf|mathcal)\s*\{([^{}]*)\}/g, "{$1}"],
  [/\\mathrm\s*\{\s*([ei])\s*\}/g, "$1"],
  [/\\mathrm\s*\{\s*([A-Z])\s*\}/g, "$1"],
].map(([from, to]) => [from, to] as [RegExp, string])

const ARRAY = /\[?\s*\\begin\{array\}\s*\{[^{}]*\}([\s\S]*?)\\end\{array\}\s*\]?/g
const MATRIX = /\\(begin|end)\{(?:[bBvV]?matrix|smallmatrix|pmatrix)\}/g

/** One spelling for the many ways to write the same LaTeX. Linear in the text's length. */
export function normalizeLatex(text: string): string {
  let out = text
  for (const [from, to] of UNICODE) out = out.replace(from, to)
  const matrix = /\\begin\{/.test(out)
  for (const [from, to] of SPELLINGS) {
    if (matrix && from.source.startsWith("\\\\\\\\")) continue // a row break before a letter
    out = typeof to === "string" ? out.replace(from, to) : out.replace(from, to as never)
  }
  out = out.replace(ARRAY, (_, body: string) => `\\begin{pmatrix}${body}\\end{pmatrix}`)
  out = out.replace(MATRIX, "\\$1{pmatrix}")
  return trimPunctuation(out)
}

/** Whitespace, closing punctuation and stray backslashes at the ends. */
export function trimPunctuation(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && /[\s,;:]/.test(text[start]!)) start++
  while (end > start && /[\s,;:.\\]/.test(text[end - 1]!)) end--
  return text.slice(start, end)
}

/** The words inside `\text{}` and its kin, unwrapped: for comparing words as words. */
export function plainWords(text: string): string {
  return text
    .replace(
      /\\(?:text|textbf|textit|textrm|textnormal|mathrm|mathbf|mbox|operatorname)\s*\{([^{}]*)\}/g,
      "$1",
    )
    .replace(/[{}$\\]/g, "")
    .replace(/\s+/g, " ")
    .trim()
}

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

/** Whether the bracket at 0 closes at the very end, whatever kind closes it (half-open intervals). */
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
