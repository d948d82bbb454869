import { trimPunctuation } from "./latex.ts"
import { changesValue, numberOfWords } from "./words.ts"

/** "The answer is ...": sentences and headings that mark what follows as the answer. */

/** Mathematics in a text: `$...$`, `\(...\)`, `\[...\]`, `$$...$$` and equation environments. */
export const MATH =
  /\$\$([^$]+)\$\$|(?<!\\)\$((?:\\\$|[^$])+)\$|\\\[([\s\S]+?)\\\]|\\\(([\s\S]+?)\\\)|(\\begin\{(align|aligned|equation|gather|eqnarray|cases)\*?\}[\s\S]*?\\end\{\6\*?\})/g

export const contentOf = (match: RegExpExecArray | RegExpMatchArray): string =>
  match[1] ?? match[2] ?? match[3] ?? match[4] ?? match[5] ?? ""

/** Each is followed by the answer; the last one in the text counts. */
const STATEMENTS: readonly RegExp[] = [
  /(?<![a-z])(?:(?:final|correct|right|best|required|desired|exact)\s+)?(?:answers?|results?|ans)(?:\s*\([^()]{0,40}\)|\s+(?:to|for|of)\s+(?:the|this|that|your|our|part)\s+[a-z ]{1,40}?)?\s*(?:is|are|:|=|would be|should be|must be|equals|comes out to|therefore is|becomes)(?![a-z])\s*:?/gi,
  /(?<![a-z])(?:correct|right|best|final)\s+(?:choice|option|alternative)\s*(?:is|are|:)(?![a-z])/gi,
  /^[ \t>*_#]{0,20}(?:final\s+)?(?:answer|solution|result)[ \t*_:#]{0,20}$/gim, // a heading
  /(?:最终|最後の|最终的)?(?:答案|答え|解答|结果|結果|正解|答)\s*(?:应该是|应为|等于|是|为|為|は|：|:)/g,
  /(?:故|应|所以|因此)?(?:本题|应)?选(?:择)?\s*[:：]?\s*(?=[(（]?[A-J](?![a-zA-Z]))/g,
  /(?:정답|답|결과)\s*(?:은|는|:|：)/g,
  /(?<!\p{L})(?:ответ|результат|відповідь|отговор)\s*(?:равен|равна|равно|будет|[:：]|[-—–]|є|е)?\s*[:：]?\s*(?=[-\d$\\(])/giu,
  /(?<!\p{L})(?:respuesta|resultado|solución|resposta|risposta|risultato|réponse|résultat|antwort|ergebnis|lösung|antwoord|svaret|svar|odpowiedź|odpověď|jawaban(?:nya)?|cevap|răspunsul|válasz|vastaus|đáp án|đáp số|kết quả|απάντηση)(?:\s+(?:final|finale|correcta|correta|correcte|corretta|akhir|richtige))?\s*(?:(?:este|est|es|é|è|ist also|ist|lautet|is|er|är|adalah|to|brzmi|je|on|là|είναι)(?!\p{L})|[:：=])\s*[:：]?/giu,
  /(?:الجواب|الإجابة|الاجابة|الناتج|النتيجة|پاسخ|جواب)\s*(?:النهائي|النهائية|الصحيح|الصحيحة)?\s*(?:هو|هي|برابر است با|است|:)?\s*(?=[-\d$\\(٠-٩])/g,
  /(?:התשובה|תשובה)\s*(?:הסופית)?\s*(?:היא|:)/g,
  /(?:उत्तर|उत्तर:|คำตอบ)\s*(?:है|คือ|:)?\s*(?=[-\d$\\(])/g,
]

const CHOICE_SAID =
  /(?<![a-z])(?:option|choice|answer|statement|alternative)\s*\(?\**([A-J])\**\)?\s+(?:is|must be|would be)\s+(?:the\s+)?(?:correct|right|true|best|answer)(?![a-z])|(?<![a-z])(?:choose|select|pick)\s+(?:(?:option|choice|answer)\s+\(?|\()([A-J])\)?(?=\s*(?:[.!]|$))/gim

/** Without one of these there is nothing to look for; most texts are told by it at once. */
const MENTIONS_ANSWER =
  /answer|\bans\b|result|solution|choice|option|select|choose|pick|alternative|\P{ASCII}|resp|ris|antw|ergeb|svar|odpow|jawab|cevap/iu

export interface Statement {
  readonly text: string
  /** Where the statement begins in the text it was found in. */
  readonly at: number
  /** It is a label (`Answer: ...`) or names a choice, not a sentence. */
  readonly label: boolean
}

/** The last statement of an answer with a value behind it; undefined when there is none. */
export function lastStatement(source: string): Statement | undefined {
  if (!MENTIONS_ANSWER.test(source)) return undefined
  const text = withoutMarkdown(source)
  const found: { at: number; end: number; label: boolean; value?: string }[] = []
  for (const pattern of STATEMENTS) {
    for (const match of text.matchAll(pattern)) {
      const label = /[:：\n]\s*$|^[^a-z]*(?:answer|solution)[^a-z]*$/i.test(match[0])
      found.push({ at: match.index, end: match.index + match[0].length, label })
    }
  }
  for (const match of text.matchAll(CHOICE_SAID)) {
    const before = text.slice(Math.max(0, match.index - 12), match.index)
    if (/\bnot\s*$/i.test(before)) continue
    const value = (match[1] ?? match[2])!.toUpperCase()
    found.push({ at: match.index, end: match.index + match[0].length, label: true, value })
  }
  found.sort((a, b) => b.at - a.at)
  for (const { at, end, label, value } of found.slice(0, 20)) {
    if (value !== undefined) return { text: value, at, label }
    if (
      /\b(?:if|whether|not|assume|suppose|check that)\s+(?:the\s+)?$/i.test(
        text.slice(Math.max(0, at - 30), at),
      )
    )
      continue
    const stated = statedValue(text.slice(end, end + 1_500))
    if (stated === "withdrawn") continue
    if (stated !== undefined && stated !== "") return { text: stated, at, label }
  }
  return undefined
}

/** Bold, italics, code and quotes of markdown; stars of products and powers stay. */
export function withoutMarkdown(text: string): string {
  return (
    text
      .replace(/^[ \t]*>[ \t]?/gm, "")
      // a list's dash is no minus, and a mark of exclamation behind what is bold no factorial
      .replace(/^[ \t]*[-+•][ \t]+(?=(?:\*\*?|__?|`)[^\s*_`])/gm, "")
      .replace(/(\*\*|__)(?=\S)([^*_\n]{0,400}\d)\1!(?![\w!])/g, "$1$2$1")
      .replace(/(?<![\w)*])\*\*(?=\S)([^*\n]{1,400}?)(?<=\S)\*\*(?![\w(*])/g, "$1")
      .replace(/(?<![\w)*])\*\*(?=\S)([^\n]{1,400}?)(?<=\S)\*\*(?![\w(*])/g, "$1")
      .replace(/(?<![\w_])__(?=\S)([^\n]{1,400}?)(?<=\S)__(?![\w_])/g, "$1")
      .replace(/(?<![\w)*\\])\*(?=[^\s*])([^*\n]{1,400}?)(?<=\S)\*(?![\w(*])/g, "$1")
      .replace(/(?<![\w_\\$])_(?=[^\s_])([^_\n]{1,400}?)(?<=\S)_(?![\w_])/g, "$1")
      .replace(/(?<!`)`([^`\n]+)`(?!`)/g, "$1")
      .replace(/\*\*/g, (stars, at: number) =>
        /\d\s*$/.test(text.slice(Math.max(0, at - 2), at)) ? stars : "",
      )
  )
}

/** Words that only lead to the value. */
const LEAD =
  /^(?:[\s:：*_#>`="]|given by|simply|just|exactly|equal to|therefore|thus|indeed|then|clearly|also|now|approximately|about|roughly|around|precisely|obviously|still|in fact|of course|found to be|obtained as|the (?:number|value|integer|fraction|point|pair|ordered pair|prime|set|interval|expression|function|equation)|a total of|option|choice|es|ist|est|ser)(?![a-z])/i
/** What follows takes back what was said. */
export const WITHDRAWN =
  /^[\s.,!?-]*(?:no|wait|actually|hmm|sorry|correction|oops|scratch|let me (?:re|double)|that is (?:wrong|not|incorrect)|that's (?:wrong|not|incorrect)|this is (?:wrong|incorrect|not))\b/i

/** What a statement says, its reasons left out; "withdrawn" where the text takes it back. */
function statedValue(source: string): string | "withdrawn" | undefined {
  let rest = source
  for (let count = 0; count < 6; count++) {
    const lead = LEAD.exec(rest)
    if (!lead || lead[0] === "") break
    rest = rest.slice(lead[0].length)
  }
  rest = rest.trimStart()
  const { clause, after } = firstClause(rest)
  if (/^\s*\?/.test(after) || WITHDRAWN.test(after)) return "withdrawn"
  const value = trimPunctuation(clause).replace(/^\((.*)\)$/s, (whole, inner: string) =>
    /[,;]/.test(inner) || /^[A-J]$/.test(inner) ? whole : inner,
  )
  if (value === "") return undefined
  const contrast = /^not\s+\S+\s+but\s+(?:rather\s+)?(\S.*)$/i.exec(value + after)
  if (contrast) return firstClause(contrast[1]!).clause
  if (startsAsValue(value)) return withoutRest(value)
  if (numberOfWords(value) !== undefined) return value
  return describedValue(value, after)
}

export const startsAsValue = (text: string): boolean =>
  /^(?:[-+±−.]?\s*[$€£]?\s*[\d.٠-٩０-９]|[$\\([{|√∞½]|[A-Za-z](?![a-z]|\s+[a-z]{2,})|[-+−]\s*[$\\(a-z√∞])/u.test(
    text,
  )

/** Math and words: `$5$ apples for each` is whole, `$x = 2$ the only root` is its math. */
function withoutRest(value: string): string {
  const math = [...value.matchAll(MATH)][0]
  if (math?.index !== 0) return value
  const rest = value.slice(math[0].length)
  if (rest === "") return contentOf(math)
  const words = rest.match(/[A-Za-z]{2,}/g) ?? []
  return words.length > 6 && !changesValue(rest) ? contentOf(math) : value
}

const MODIFIED =
  /(?<![a-z])(?:more|less|fewer|greater|larger|smaller|square|cube|sum of all but)(?![a-z])/i
const COPULA =
  /^([\s\S]*(?<![A-Za-z])(?:is|are|equals?|was|were)(?![A-Za-z])|[\s\S]*=)\s*(?:exactly |only )?(\S[\s\S]*)$/i
/** `还剩 5 个苹果`, `всего 5`: words of another script before a number. */
const FOREIGN_LEAD =
  /^[^\p{ASCII}]+(?:\s+[^\p{ASCII}]+)*?\s*([-+]?\s*[$\\(]?\s*\d[\s\S]*|\$[\s\S]*)$/u

/** `the number of pairs, which is $19$`, `the volume is 120`: a thing's name, then its value. */
function describedValue(clause: string, after: string): string {
  const foreign = FOREIGN_LEAD.exec(clause)
  if (foreign && !/[不没非]|не |ない|아니/u.test(clause)) return foreign[1]!
  const copula = COPULA.exec(clause)
  if (copula && startsAsValue(copula[2]!) && !/\b(?:not|never|no)\b|n't\b/i.test(copula[1]!)) {
    return copula[2]!
  }
  if (isModified(clause)) return clause
  const follows = /^[\s,]*(?:which|that|and this)\s+(?:is|equals|gives|comes to)\s+(?=\S)/i.exec(
    after,
  )
  if (follows) return firstClause(after.slice(follows[0].length)).clause
  return clause.slice(0, 200)
}

const isModified = (words: string): boolean => changesValue(words) || MODIFIED.test(words)

const CUTS: readonly RegExp[] = [
  /\n\s*\n/,
  /\n(?!\s*(?:and|or)\b)/,
  /[.!](?=\s|$|["')\]])(?<!\d\.(?=\d))/,
  /[。！]/,
  /\?/,
  /;\s+(?=[A-Za-z]{2,}\s)/,
  /(?<=[\d)}\ue000]):\s+(?=[A-Za-z]{2,}\s)/,
  /\s+as\s+(?=[\d$\ue000(])/,
  /,?\s+and\s+(?=[^,;]*(?:\bis\b|\bare\b|\bequals\b))/,
  /,\s+(?=(?:which|that|because|since|as|so|but|not|in|for|with|where|when|while|who|whose|the|it|this|he|she|they|we|if|making|giving)\s)/,
  /,?\s+and\s+(?=(?:that|this|it|we|the|so|they|he|she|is|are|therefore|hence)\b)/,
  /,?\s+(?:because|since|so that|due to|given that|which|who|whose|as\s+(?:the|shown|we|it|expected|required|above)|where|whereas|but|however|and not|and that|rather than|instead of|making|giving|as well|after|hence|thus|therefore|by\s+(?:the|a)|that is|i\.e\.|for a total)(?![a-z])/i,
  /\s+[—–]\s+|\s+-\s+(?=[A-Za-z]{2,})/,
  /\s+\((?=[^()\\]*[A-Za-z]{3,})/,
  /\s+I hope\b/,
  /[,，]\s*(?=[\u4e00-\u9fff]{2,})|，/,
]

/** Behind a value, any words after a comma are remarks; behind words they may be a list's. */
const AFTER_VALUE = /,\s+(?=(?!and\b|or\b)[A-Za-z']{2,}(?!\s*=|\())/

/** The text up to where a sentence ends or goes on to reasons; mathematics is never cut. */
export function firstClause(text: string): { clause: string; after: string } {
  const masked = text
    .replace(MATH, (math) => "\ue000".repeat(math.length))
    .replace(/\\(?:text|mathrm)\s*\{[^{}]*\}/g, (words) => "\ue000".repeat(words.length))
  let end = text.length
  for (const cut of startsAsValue(text) ? [...CUTS, AFTER_VALUE] : CUTS) {
    const at = masked.search(cut)
    if (at > 0 && at < end) end = at
  }
  return { clause: text.slice(0, end), after: text.slice(end) }
}
