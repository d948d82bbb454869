/**
 * Text to text: the signs of other keyboards in the spelling that LaTeX and ASCII have for them.
 */

/** Full-width forms (U+FF01 to U+FF5E) and ideographic punctuation, as ASCII. */
function foldWidth(text: string): string {
  return text
    .replace(/[\uff01-\uff5e]/g, (c) => String.fromCharCode(c.charCodeAt(0) - 0xfee0))
    .replace(/\u3000/g, " ")
    .replace(/[。．｡]/g, ".")
    .replace(/[、､]/g, ",")
    .replace(/[「『【〔]/g, "(")
    .replace(/[」』】〕]/g, ")")
    .replace(/￥/g, "¥")
}

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹"
const SUBSCRIPTS = "₀₁₂₃₄₅₆₇₈₉"
const digitsOf = (text: string, row: string): string =>
  [...text].map((c) => (row.includes(c) ? String(row.indexOf(c)) : c)).join("")

/** Digits of other scripts (Arabic-Indic, Devanagari) are the same numbers. */
function foldDigits(text: string): string {
  return text
    .replace(/[\u0660-\u0669]/g, (c) => String(c.charCodeAt(0) - 0x660))
    .replace(/[\u06f0-\u06f9]/g, (c) => String(c.charCodeAt(0) - 0x6f0))
    .replace(/[\u0966-\u096f]/g, (c) => String(c.charCodeAt(0) - 0x966))
    .replace(/٫/g, ".")
    .replace(/٬/g, ",")
}

/** `⅜`, and `2⅜` as a mixed number. NFKC writes U+2044 between the two numbers. */
function foldFractions(text: string): string {
  return text.replace(/[\u00bc-\u00be\u2150-\u215e\u2189]/g, (c) => {
    const [top, bottom] = c.normalize("NFKC").split("\u2044")
    return `\\frac{${top}}{${bottom}}`
  })
}

const SIGNS: readonly (readonly [RegExp, string | ((sign: string) => string)])[] = [
  [/[\u2212\u2010-\u2014\ufe63]/g, "-"],
  [/[\u00a0\u2002-\u200a\u202f]/g, " "],
  [/[\u200b-\u200f\u2060\u2061-\u2064\ufeff\u202a-\u202e\u2066-\u2069]/g, ""],
  [/[\u2044\u2215]/g, "/"],
  [/[×✕⨯]/g, "\\times "],
  [/[·⋅∙•]/g, "\\cdot "],
  [/÷/g, "/"],
  [/π/g, "\\pi "],
  [/[αβγδθλφω]/g, (c: string) => `${GREEK[c]} `],
  [/[µμ]/g, "\\mu "],
  [/[ΩΩ]/g, "\\Omega "],
  [/∞/g, "\\infty "],
  [/[≤⩽≦]/g, "\\le "],
  [/[≥⩾≧]/g, "\\ge "],
  [/≠/g, "\\ne "],
  [/[≈≃≅]/g, "\\approx "],
  [/≡/g, "\\equiv "],
  [/±/g, "\\pm "],
  [/∓/g, "\\mp "],
  [/∪/g, "\\cup "],
  [/∩/g, "\\cap "],
  [/∈/g, "\\in "],
  [/∖/g, "\\setminus "],
  [/[∅⌀]/g, "\\emptyset "],
  [/ℝ/g, "\\mathbb{R}"],
  [/ℤ/g, "\\mathbb{Z}"],
  [/ℕ/g, "\\mathbb{N}"],
  [/ℚ/g, "\\mathbb{Q}"],
  [/ℂ/g, "\\mathbb{C}"],
  [/[…⋯]/g, "\\ldots "],
  [/∠/g, "\\angle "],
  [/△/g, "\\triangle "],
  [/√\(/g, "\\sqrt("],
  [/√\s*(\d+(?:\.\d+)?|[a-z])/g, "\\sqrt{$1}"],
  [/∛\s*(\d+|[a-z])/g, "\\sqrt[3]{$1}"],
  [/℃/g, "^\\circ\\text{C}"],
  [/℉/g, "^\\circ\\text{F}"],
  [/[°º˚]/g, "^\\circ "],
  [/[′]/g, "'"],
  [/[€£¥₹₩₽]/g, ""],
  [/[“”«»]/g, '"'],
  [/[‘’]/g, "'"],
]

const GREEK: Readonly<Record<string, string>> = {
  α: "\\alpha",
  β: "\\beta",
  γ: "\\gamma",
  δ: "\\delta",
  θ: "\\theta",
  λ: "\\lambda",
  φ: "\\phi",
  ω: "\\omega",
}

/** Everything that is one sign in Unicode and several in LaTeX. Linear in the text's length. */
export function foldUnicode(text: string): string {
  if (/^[\x20-\x7e\s]*$/.test(text)) return text
  let out = foldFractions(foldDigits(foldWidth(text)))
    .replace(/(\d)\s*(mm|cm|dm|km|m|in|ft)([²³])/g, (_, digit, unit, power) => {
      return `${digit}\\text{ ${unit}}^${power === "²" ? 2 : 3}`
    })
    .replace(/[⁰¹²³⁴-⁹⁺⁻]+/g, (run) => {
      const power = digitsOf(run, SUPERSCRIPTS).replace(/⁺/g, "+").replace(/⁻/g, "-")
      return `^{${power}}`
    })
    .replace(/[₀-₉]+/g, (run) => `_{${digitsOf(run, SUBSCRIPTS)}}`)
  for (const [from, to] of SIGNS) {
    out = typeof to === "string" ? out.replace(from, to) : out.replace(from, to)
  }
  return out
}
