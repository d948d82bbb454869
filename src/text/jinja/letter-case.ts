/** Letters whose title case is one of its own, as in `ǆ`, and those that Unicode writes as two. */
const TITLES: ReadonlyMap<string, string> = new Map([
  ...["Ǆǅǆ", "Ǉǈǉ", "Ǌǋǌ", "Ǳǲǳ"].flatMap((three) =>
    [...three].map((letter): [string, string] => [letter, three[1]!]),
  ),
  ["ß", "Ss"],
  ["ŉ", "ʼN"],
  ...["ﬀ", "ﬁ", "ﬂ", "ﬃ", "ﬄ", "ﬅ", "ﬆ"].map((letter): [string, string] => {
    const upper = letter.toUpperCase()
    return [letter, upper[0]! + upper.slice(1).toLowerCase()]
  }),
])

const titleCase = (letter: string): string => TITLES.get(letter) ?? letter.toUpperCase()

/** Python's `str.capitalize`. */
export function capitalized(text: string): string {
  const [first = ""] = text
  return titleCase(first) + text.slice(first.length).toLowerCase()
}

/** Python's `str.title`: a letter after a letter is lower, any other is upper. */
export function titled(text: string): string {
  return text.replace(/\p{Cased}+/gu, capitalized)
}

export const swapped = (text: string): string =>
  Array.from(text, (letter) =>
    /\p{Lu}/u.test(letter) ? letter.toLowerCase() : letter.toUpperCase(),
  ).join("")
