import { withoutStyles } from "./styles.ts"
import { foldUnicode } from "./unicode.ts"

/** Text to text: an answer's LaTeX or plain writing in one spelling. Nothing here judges. */

type Rewrite = readonly [RegExp, string | ((match: string, ...groups: string[]) => string)]

const SPELLINGS: readonly Rewrite[] = [
  [/\\\\(?=[a-zA-Z]{2,})/g, "\\"], // doubled by a careless JSON export
  [/\\(?:left|right)\s*(?![a-zA-Z])\.?/g, ""],
  [/\\[dtc]frac(?![a-zA-Z])/g, "\\frac"],
  [/\\frac\s*(\d)\s*(\d)/g, "\\frac{$1}{$2}"],
  [/\\frac\s*(\d)\s*\{/g, "\\frac{$1}{"],
  [/\\frac\s*\{([^{}]*)\}\s*(\d)/g, "\\frac{$1}{$2}"],
  [/\\[dt]binom(?![a-zA-Z])/g, "\\binom"],
  [/\\(?:geqslant|geq|gt)(?![a-zA-Z])/g, (m) => (m === "\\gt" ? ">" : "\\ge ")],
  [/\\(?:leqslant|leq|lt)(?![a-zA-Z])/g, (m) => (m === "\\lt" ? "<" : "\\le ")],
  [/\\(?:neq|ne)(?![a-zA-Z])/g, "\\ne "],
  [/\\not\s*=/g, "\\ne "],
  [/\\(?:le|ge|in|equiv|approx|cup|setminus|mid)(?![a-zA-Z])/g, "$& "],
  [/\\(?:smallsetminus|backslash)(?![a-zA-Z])/g, "\\setminus "],
  [/\\(?:simeq|sim)(?![a-zA-Z])/g, "\\approx "],
  [/\\(?:varnothing|O)(?![a-zA-Z])/g, "\\emptyset "],
  [/>=/g, "\\ge "],
  [/<=/g, "\\le "],
  [/!=(?!=)/g, "\\ne "],
  [/\\(?:lbrace|lbrack)(?![a-zA-Z])/g, (m) => (m.endsWith("brace") ? "\\{" : "[")],
  [/\\(?:rbrace|rbrack)(?![a-zA-Z])/g, (m) => (m.endsWith("brace") ? "\\}" : "]")],
  [/\\(?:lvert|rvert|vert)(?![a-zA-Z])/g, "|"],
  [/\\[lr]angle(?![a-zA-Z])/g, (m) => (m === "\\langle" ? "(" : ")")],
  [/\\(?:degree|degrees)(?![a-zA-Z])/g, "^\\circ"],
  [/\^\s*\{\s*\\circ\s*\}/g, "^\\circ"],
  [/\\(?:dots|dotsc|cdots|dotsb)(?![a-zA-Z])/g, "\\ldots"],
  [/(?<![a-zA-Z])\{\s*,\s*\}/g, ","],
  [/(?<![a-zA-Z])\{\s*\.\s*\}/g, "."],
  [/,\s*\\!\s*/g, ","],
  [/(?<!\\)\\[!;:]/g, ""],
  [/(\d)\\,(?=\d{3}(?!\d))/g, "$1"],
  [/(?<!\\)\\[, ]|~/g, " "],
  [/\\q?quad(?![a-zA-Z])/g, " , "],
  [/\\operatorname\*?\s*\{\s*(sin|cos|tan|log|ln|gcd|lcm|max|min)\s*\}/g, "\\$1 "],
  [
    /\\operatorname\*?\s*\{\s*cis\s*\}\s*(\{[^{}]*\}|\([^()]*\)|\d+\s*\^\\circ|[\d.]+|\\[a-z]+)/g,
    "(\\cos $1+i\\sin $1)",
  ],
  [
    /(?<![\\a-zA-Z])\\?cis\s*(\{[^{}]*\}|\([^()]*\)|\d+\s*\^\\circ|[\d.]+|\\[a-z]+)/g,
    "(\\cos $1+i\\sin $1)",
  ],
  [/\\sqrt\s*(\d)/g, "\\sqrt{$1}"],
  [/\\sqrt\s*\(([^()]*)\)/g, "\\sqrt{$1}"],
  [/(?<![\\a-zA-Z])sqrt\s*\(([^()]*)\)/g, "\\sqrt{$1}"],
  [/(?<![\\a-zA-Z])sqrt\s*(\d+)/g, "\\sqrt{$1}"],
  [/(?<![\\a-zA-Z])(pi)(?![a-zA-Z])/g, "\\pi "],
  [/(?<![\\a-zA-Z{])(sin|cos|tan|log|ln)(?![a-zA-Z])/g, "\\$1 "],
  [/\*\*/g, "^"],
  [/\^\s*\(([^()]*)\)/g, "^{$1}"],
  [/\\mathrm\s*\{\s*([ei])\s*\}/g, "$1"],
  [/\\mathrm\s*\{\s*([A-Z])\s*\}(?!\s*\^\s*\{?-)/g, "$1"],
]

const ARRAY = /\[?\s*\\begin\{array\}\s*\{[^{}]*\}([\s\S]*?)\\end\{array\}\s*\]?/g
const MATRIX = /\\(begin|end)\{(?:[bBvV]?matrix|smallmatrix|pmatrix)\}/g

/** One spelling for the many ways to write the same LaTeX. Linear in the text's length. */
export function normalizeLatex(text: string): string {
  let out = foldUnicode(text)
  const matrix = /\\begin\{/.test(out)
  for (const [from, to] of SPELLINGS) {
    if (matrix && from.source.startsWith("\\\\\\\\")) continue // a row break before a letter
    out = typeof to === "string" ? out.replace(from, to) : out.replace(from, to)
  }
  if (!matrix) out = out.replace(/\\\\/g, " , ")
  out = withoutStyles(out)
  out = out.replace(ARRAY, (_, body: string) => `\\begin{pmatrix}${body}\\end{pmatrix}`)
  out = out.replace(MATRIX, "\\$1{pmatrix}")
  out = nestedListMatrix(withoutLayout(out))
  return trimPunctuation(mixedNumbers(recurringDecimals(digitGroups(frenchIntervals(out)))))
}

const LAYOUT =
  /\\begin\{(align|aligned|alignat|equation|gather|gathered|split|cases|eqnarray)\*?\}([\s\S]*?)\\end\{\1\*?\}/g

/** Rows of an equation environment: `&= 7` goes on with the row before, others are a list. */
function withoutLayout(text: string): string {
  return text.replace(LAYOUT, (_, _name: string, body: string) =>
    body
      .split(/\\\\|\\newline/)
      .map((row) => row.replace(/(?<!\\)&/g, " ").trim())
      .filter((row) => row !== "")
      .reduce(
        (joined, row) =>
          joined === "" || row.startsWith("=") ? joined + row : `${joined} , ${row}`,
        "",
      ),
  )
}

/** `[[1,2],[3,4]]`, as programs write matrices. */
function nestedListMatrix(text: string): string {
  const inner = /^\s*[[(]\s*((?:\[[^[\]]*\]\s*,?\s*){2,})[\])]\s*$/.exec(text)?.[1]
  if (inner === undefined) return text
  const rows = [...inner.matchAll(/\[([^[\]]*)\]/g)].map(([, row]) => row!.replace(/[,;]/g, " & "))
  return `\\begin{pmatrix}${rows.join(" \\\\ ")}\\end{pmatrix}`
}

/** `]2,3[` and `[1,2[`, as half of Europe writes open ends. */
function frenchIntervals(text: string): string {
  return text
    .replace(/\]\s*([^\s[\](),;][^[\](),;]*)[,;]([^[\](),;]+)\[/g, "($1,$2)")
    .replace(/\[\s*([^\s[\](),;][^[\](),;]*)[,;]([^[\](),;]+)\[(?!\s*[\d-])/g, "[$1,$2)")
    .replace(/(^|[^\s\d[\])}\w])\s*\]\s*([^\s[\](),;][^[\](),;]*)[,;]([^[\](),;]+)\]/g, "$1($2,$3]")
    .replace(/(\\cup\s*)\]\s*([^\s[\](),;][^[\](),;]*)[,;]([^[\](),;]+)\]/g, "$1($2,$3]")
}

/** Digit groups that can be nothing else: `1'234'567`, `1.234.567`, `12_000`, `12,34,567`. */
function digitGroups(text: string): string {
  return text
    .replace(/(?<![\d.,'])\d{1,3}(?:'\d{3})+(?![\d'])/g, (m) => m.replace(/'/g, ""))
    .replace(/(?<![\d.,])\d{1,3}(?:\.\d{3}){2,}(?![\d.])/g, (m) => m.replace(/\./g, ""))
    .replace(/(?<![\d.,_^])\d{1,3}(?:_\d{3})+(?![\d_{])/g, (m) => m.replace(/_/g, ""))
    .replace(
      /^(-?\s*)(\d{1,2}(?:,\d{2})+,\d{3})$/,
      (_, sign: string, m: string) => sign + m.replace(/,/g, ""),
    )
}

/** `0.\dot{3}`, `0.\dot12\dot3`, `0.333...`, `0.1666...`: the cycle under a bar. */
function recurringDecimals(text: string): string {
  return text
    .replace(/(\d*\.\d*)\\bar(?![a-zA-Z])/g, "$1\\overline")
    .replace(/(\d*\.\d*)\\overline\s*(\d)/g, "$1\\overline{$2}")
    .replace(
      /(\d*\.\d*)\\dot\s*\{?(\d)\}?(?:(\d*)\\dot\s*\{?(\d)\}?)?/g,
      (_, head: string, first: string, middle?: string, last?: string) =>
        `${head}\\overline{${first}${middle ?? ""}${last ?? ""}}`,
    )
    .replace(
      /(\d*\.\d*?)(\d{1,6}?)\2{1,}(?:\.\.\.|\s*\\ldots)/g,
      (match, head: string, cycle: string) => {
        const decimals = match.replace(/\D+$/, "").length - match.indexOf(".") - 1
        return decimals >= 3 ? `${head}\\overline{${cycle}}` : match
      },
    )
    .replace(/(\.\d+)(?:\.\.\.|\s*\\ldots)$/, "$1")
}

/** `2\frac{1}{3}` and `2 1/3` are sums, also behind a minus sign; `x^2\frac{1}{3}` is none. */
function mixedNumbers(text: string): string {
  const sum = (match: string, whole: string, top: string, bottom: string): string =>
    Number(top) < Number(bottom) ? `(${whole}+\\frac{${top}}{${bottom}})` : match
  return text
    .replace(/(?<![\d.,^_\w}])(\d+)\s*\\frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}/g, sum)
    .replace(/(?<![\d.,^_\w}/])(\d+)\s+(\d+)\s*\/\s*(\d+)(?![\d.^])/g, sum)
    .replace(/(?<![\d.,^_\w}/])(\d+)-(\d+)\/(\d+)(?=\s+[a-z]{3,})/g, sum) // 2-1/2 cups
}

/** Whitespace, closing punctuation and stray backslashes at the ends. */
export function trimPunctuation(text: string): string {
  let start = 0
  let end = text.length
  while (start < end && /[\s,;:]/.test(text[start]!)) start++
  while (end > start && /[\s,;:.\\]/.test(text[end - 1]!)) {
    if (text[end - 1] === "." && /\.\.\.$|\d\.\.$/.test(text.slice(0, end))) break
    end--
  }
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
