/** An entry of `added_tokens` in tokenizer.json. */
export interface AddedToken {
  readonly id: number
  readonly content: string
  readonly special: boolean
  readonly singleWord: boolean
  readonly lstrip: boolean
  readonly rstrip: boolean
  readonly normalized: boolean
}

/** A stretch of text, in UTF-16 units: an added token, or what lies between two of them. */
export interface Section {
  readonly start: number
  readonly end: number
  readonly token: AddedToken | null
}

interface TrieNode {
  /** By UTF-16 unit. */
  readonly next: Map<number, TrieNode>
  token: AddedToken | undefined
}

const node = (): TrieNode => ({ next: new Map(), token: undefined })

const ENDS_WITH_WORD = /[\p{L}\p{N}\p{M}_]$/u
const STARTS_WITH_WORD = /^[\p{L}\p{N}\p{M}_]/u
const SPACE = /\s/u

/**
 * Cuts text at added tokens: leftmost, then longest, as the Rust tokenizers do. `lstrip` and
 * `rstrip` let a token swallow the white space beside it; `single_word` tokens match whole words.
 *
 * @param tokens pairs of the text to look for and the token it stands for.
 */
export function sectionSplitter(
  tokens: Iterable<readonly [string, AddedToken]>,
): (text: string) => Section[] {
  const root = node()
  /** Whether a token begins with a unit: asked of every unit of the text. */
  const begins = new Uint8Array(0x10000)
  for (const [content, token] of tokens) {
    if (content.length === 0) continue
    begins[content.charCodeAt(0)] = 1
    let at = root
    for (let i = 0; i < content.length; i++) {
      const unit = content.charCodeAt(i)
      let next = at.next.get(unit)
      if (next === undefined) {
        next = node()
        at.next.set(unit, next)
      }
      at = next
    }
    at.token = token
  }

  const longestAt = (text: string, start: number): [AddedToken, number] | null => {
    let best: [AddedToken, number] | null = null
    let at = root.next.get(text.charCodeAt(start))
    for (let i = start + 1; at !== undefined; i++) {
      if (at.token !== undefined) best = [at.token, i]
      at = i < text.length ? at.next.get(text.charCodeAt(i)) : undefined
    }
    return best
  }

  return (text) => {
    const sections: Section[] = []
    let done = 0
    for (let i = 0; i < text.length; ) {
      const match = begins[text.charCodeAt(i)] === 1 ? longestAt(text, i) : null
      if (match === null) {
        i++
        continue
      }
      const [token, matchEnd] = match
      let [start, end] = [i, matchEnd]
      i = matchEnd
      if (
        token.singleWord &&
        (ENDS_WITH_WORD.test(text.slice(0, start)) || STARTS_WITH_WORD.test(text.slice(end)))
      ) {
        continue
      }
      if (token.lstrip) while (start > done && SPACE.test(text[start - 1]!)) start--
      if (token.rstrip) while (end < text.length && SPACE.test(text[end]!)) end++
      if (start > done) sections.push({ start: done, end: start, token: null })
      sections.push({ start, end, token })
      done = end
      i = Math.max(i, end)
    }
    if (done < text.length) sections.push({ start: done, end: text.length, token: null })
    return sections
  }
}
