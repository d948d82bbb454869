import { closingBrace } from "./brackets.ts"

/** Commands that change how a thing looks and not what it is. */

const SWITCHES =
  /\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|[bB]igg?[lrm]?|tiny|small|normalsize|large|Large|LARGE|huge|Huge|bf|it|rm|bfseries|itshape|hfill|hfil|noindent|centering|strut|nonumber|notag|protect|allowbreak|qed|square|blacksquare|Box|checkmark)(?![a-zA-Z])/g
/** With one argument that is shown. */
const SHOWN =
  "bold|boldsymbol|bm|pmb|mathbf|mathit|mathsf|mathtt|mathnormal|mathord|mathcal|underline|uline|uuline|ensuremath|emph|hbox|underbar|mathstrut"
/** With one argument that is not shown. */
const HIDDEN = "phantom|hphantom|vphantom|mspace|mskip|hspace\\*?|vspace\\*?|label|tag\\*?"
/** With a colour first. */
const COLOURED = "textcolor|colorbox"
const STYLE = new RegExp(
  `\\\\(?:(${SHOWN})|(${HIDDEN})|(${COLOURED})|(color))(?![a-zA-Z])\\s*(?=\\{)`,
)

const MAX_STYLES = 50

/** The text without fonts, sizes, colours and empty space. Words in `\text{}` stay words. */
export function withoutStyles(text: string): string {
  let out = text.replace(SWITCHES, " ")
  for (let count = 0; count < MAX_STYLES; count++) {
    const match = STYLE.exec(out)
    if (!match) break
    const open = match.index + match[0].length
    const close = closingBrace(out, open)
    if (close === undefined) break
    const [, shown, hidden, coloured] = match
    const before = out.slice(0, match.index)
    const after = out.slice(close + 1)
    const content = out.slice(open + 1, close)
    if (hidden !== undefined) out = `${before} ${after}`
    else if (shown !== undefined) {
      out = before + (/^[\d.]+$/.test(content) ? content : `{${content}}`) + after
    } else out = coloured === undefined ? before + after : before + after.replace(/^\s+/, "")
  }
  return numbersInText(withoutOuterBraces(out))
}

/** `{13}` alone, once its style is gone, is 13; `{1,2}` is left to the reader of lists. */
function withoutOuterBraces(text: string): string {
  const trimmed = text.trim()
  return /^\{[^{},;\\]*\}$/.test(trimmed) ? trimmed.slice(1, -1) : text
}

const TEXT =
  /\\(?:text|textbf|textit|textrm|textnormal|textsf|texttt|textup|mathrm|mathop|mbox|operatorname\*?)\s*\{([^{}]*)\}/g

/**
 * `\text{13}`, `\text{12 apples}`, `\mathrm{1/2}`, `\text{, }`: mathematics that was put in text.
 */
function numbersInText(text: string): string {
  return text.replace(TEXT, (match, content: string, at: number) => {
    if (/^\s*[,;]\s*$/.test(content)) return " , "
    if (/^\s*[.:!]\s*$/.test(content)) return " "
    if (/^\s*[-+(]?\s*(?:\$\s*)?[-.]?\d/.test(content)) return ` ${content} `
    const alone = text.slice(0, at).trim() === "" && text.slice(at + match.length).trim() === ""
    return alone && /\d/.test(content) ? ` ${content} ` : match
  })
}
