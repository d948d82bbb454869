/** English words that stand for values, and words that change what a value beside them means. */

const ONES: readonly string[] =
  "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split(
    " ",
  )
const TENS: readonly string[] = "twenty thirty forty fifty sixty seventy eighty ninety".split(" ")

/** Words that multiply the number before them; the keys are as written in lower case. */
export const MULTIPLIERS: Readonly<Record<string, number>> = {
  dozen: 12,
  dozens: 12,
  score: 20,
  hundred: 100,
  thousand: 1e3,
  grand: 1e3,
  lakh: 1e5,
  million: 1e6,
  millions: 1e6,
  crore: 1e7,
  billion: 1e9,
  trillion: 1e12,
  百: 100,
  千: 1e3,
  万: 1e4,
  萬: 1e4,
  亿: 1e8,
  億: 1e8,
}

const PARTS: Readonly<Record<string, number>> = {
  half: 2,
  halves: 2,
  third: 3,
  thirds: 3,
  quarter: 4,
  quarters: 4,
  fourth: 4,
  fourths: 4,
  fifth: 5,
  fifths: 5,
  sixth: 6,
  sixths: 6,
  seventh: 7,
  sevenths: 7,
  eighth: 8,
  eighths: 8,
  ninth: 9,
  ninths: 9,
  tenth: 10,
  tenths: 10,
}

/**
 * A number in words as digits (`-6`, `21`, `2/3`): whole numbers up to the thousands and simple
 * parts; undefined for any other words.
 */
export function numberOfWords(words: string): string | undefined {
  const text = words
    .toLowerCase()
    .replace(/-/g, " ")
    .replace(/\s+/g, " ")
    .replace(/[.!]$/, "")
    .trim()
  const negative = /^(?:negative|minus)\s+(.+)$/.exec(text)
  if (negative) {
    const value = /^[\d.,/]+$/.test(negative[1]!) ? negative[1] : numberOfWords(negative[1]!)
    return value === undefined || value.startsWith("-") ? undefined : `-${value}`
  }
  const part = /^(.+?) (\S+)$/.exec(text)
  const bottom = part && Object.hasOwn(PARTS, part[2]!) ? PARTS[part[2]!] : undefined
  if (bottom !== undefined) {
    const top = part![1] === "a" ? 1 : wholeOfWords(part![1]!.split(" "))
    return top === undefined ? undefined : `${top}/${bottom}`
  }
  const whole = wholeOfWords(text.split(" "))
  return whole === undefined ? undefined : String(whole)
}

function wholeOfWords(words: readonly string[]): number | undefined {
  let total = 0
  let group: number | undefined
  for (const word of words) {
    const [one, ten] = [ONES.indexOf(word), TENS.indexOf(word)]
    if (one >= 0) {
      if (group !== undefined && (group % 10 !== 0 || group % 100 === 10 || one > 9)) {
        if (group % 100 !== 0) return undefined
      }
      group = (group ?? 0) + one
    } else if (ten >= 0) {
      if (group !== undefined && group % 100 !== 0) return undefined
      group = (group ?? 0) + 10 * (ten + 2)
    } else if (word === "hundred" && (group ?? 1) < 10) group = 100 * (group ?? 1)
    else if ((word === "thousand" || word === "million") && group !== undefined) {
      total += group * MULTIPLIERS[word]!
      group = undefined
    } else if (word === "dozen" && words.length <= 2) group = 12 * (group ?? 1)
    else if (word === "a" && words.length === 2 && words[0] === "a") group = 1
    else if (word !== "and" || (group === undefined && total === 0)) return undefined
  }
  return group === undefined && total === 0 ? undefined : total + (group ?? 0)
}

/**
 * Words that make another value of the number beside them, or none: `5 factorial`, `at least 5`,
 * `5 is not the answer`. A number with one of them is read as words.
 */
const CHANGES =
  /(?<![a-z])(?:not|n't|never|no|least|most|than|over|under|above|below|beyond|between|minus|plus|times|twice|thrice|divided|multiplied|squared?|cubed?|factorial|root|power|powers|mod|modulo|base|choose|half|halves|thirds?|fourths?|fifths?|sixths?|sevenths?|eighths?|ninths?|tenths?|hundredths?|thousandths?|is|are|was|were|be|to|through|or|and|from|until|till|except|if|unless|when|where|whenever|but|either|neither|nor|versus|vs|hence|because|since|which|only if|approximately not|wrong|incorrect|false|negative|reciprocal|inverse|multiple|multiples|percent of|% of)(?![a-z])/i

/** `square`, `cubic` and `cube` before a length are part of a unit, not a change of the number. */
export function changesValue(words: string): boolean {
  return CHANGES.test(
    words.replace(
      /\b(?:square|cube|cubic)\s+(?=(?:centi|milli|kilo|deci|nano)?(?:met|inch|feet|foot|ft|yard|mile|cm|mm|km|m\b|in\b|unit))/gi,
      "",
    ),
  )
}

const NOTHING =
  /^(?:(?:there\s+(?:is|are)\s+)?no\s+(?:real\s+)?(?:solutions?|values?|roots?|such.*)|none|empty|empty set|the empty set|nothing|undecidable)$/
const SYNONYMS: readonly (readonly [RegExp, string])[] = [
  [NOTHING, "no solution"],
  [
    /^(?:dne|does(?: not|n't) exist|(?:the )?limit does(?: not|n't) exist|undefined)$/,
    "does not exist",
  ],
  [/^(?:positive |plus )?infinity$/, "infinity"],
  [/^(?:negative|minus) infinity$/, "-infinity"],
  [/^(?:infinitely many(?: solutions)?|infinite(?: solutions)?)$/, "infinitely many"],
  [/^(?:all )?(?:real numbers|reals)$/, "all real numbers"],
  [/^(?:yup|yes|correct|true)$/, "yes"],
]

/** One spelling for words that mean one thing, in lower case. */
export function folded(words: string): string {
  const text = words
    .toLowerCase()
    .replace(/^(?:the|a|an|on|in|at|it is|it's|they are|she is|he is|by) (?=\S)/, "")
    .trim()
  for (const [pattern, meaning] of SYNONYMS) {
    if (meaning !== "yes" && pattern.test(text)) return meaning
  }
  return text
}

/** Whether the words name the empty set. */
export const meansNothing = (words: string): boolean => NOTHING.test(words.toLowerCase().trim())

/**
 * `Yes, it converges` beside `Yes`: the word before a comma says it, what follows gives reasons.
 */
export function leadingWord(words: string): string | undefined {
  return /^(yes|no|true|false|even|odd|neither|both|never|always|sometimes|correct|incorrect)\b\s*(?:[,;:.!(]|-\s|\bbecause\b|\bsince\b|\bas\b)/i
    .exec(words)?.[1]
    ?.toLowerCase()
}

/** `The function is even`: what a short sentence without a denial says at its end. */
export function saidOf(words: string): string | undefined {
  const match =
    /^[^,;]*?\b(?:is|are|was|were)\s+((?:an?\s+|the\s+)?[A-Za-z-]+(?:\s+[A-Za-z-]+)?)\.?$/i.exec(
      words,
    )
  if (!match || words.length > 80) return undefined
  return /\b(?:not|n't|never|neither|nor|no)\b/i.test(words) ? undefined : match[1]
}
