import { closingBrace } from "./brackets.ts"

export interface Box {
  readonly start: number
  readonly end: number
  readonly content: string
}

const BOX = /\\?\\(?:boxed|fbox|framebox)(?![a-zA-Z])\s*/g

/** All boxes in order; a last one that never closes means that the text was cut off. */
export function boxedGroups(text: string): readonly Box[] | "cut off" {
  const boxes: Box[] = []
  for (const match of text.matchAll(BOX)) {
    const start = match.index
    const open = start + match[0].length
    if (start < (boxes.at(-1)?.end ?? 0)) continue // nested: the outer one holds it
    if (text[open] !== "{") {
      // a word behind it is prose about the command, not its argument
      const token =
        /^(\\[a-zA-Z]+(?:\{[^{}]*\})*|\d+|[a-zA-Z](?![a-zA-Z])|[^\s{}$\\a-zA-Z`'").,])/.exec(
          text.slice(open, open + 200),
        )
      if (token) boxes.push({ start, end: open + token[0].length, content: token[1]! })
      continue
    }
    const close = closingBrace(text, open)
    if (close === undefined) return "cut off"
    boxes.push({ start, end: close + 1, content: text.slice(open + 1, close) })
  }
  return boxes
}

const PLACEHOLDER =
  /^(?:[\s.,~]|\\[,;:! ]|\\(?:ldots|dots|cdots|cdot|quad|square|text\s*\{\s*\}))*$|^\s*(?:\\text\s*\{)?\s*(?:your |the |final )*(?:answer|result|solution)(?: here| goes here)?\s*\}?\s*$|^[.…·_?\s]+$/i

/** Boxes that hold an answer: an empty one, dots or "your answer" only speak of a box. */
export function filledBoxes(text: string): readonly Box[] | "cut off" {
  const boxes = boxedGroups(text)
  if (boxes === "cut off") return boxes
  return boxes.filter(({ content }) => !PLACEHOLDER.test(content))
}

/** `\boxed{5}\%` and `\boxed{5} million`: what is right behind the box belongs to the answer. */
export function withTrailingUnit(text: string, { end, content }: Box): string {
  const after = text.slice(end, end + 30)
  if (/^\s*\$?\s*\\?%/.test(after)) return `${content}\\%`
  const multiplier = /^\s*\$?\s*(dozen|hundred|thousand|million|billion|trillion)\b/.exec(after)
  return multiplier ? `${content}\\text{ ${multiplier[1]}}` : content
}

const GAP_LIMIT = 40

/** Boxes that follow one another with only a few words between, as one comma list. */
export function joinedBoxes(text: string, boxes: readonly Box[]): string | undefined {
  let first = boxes.length - 1
  while (first > 0) {
    const gap = text
      .slice(boxes[first - 1]!.end, boxes[first]!.start)
      .replace(/\$\$?|\\[[\]()]/g, "")
    const nothing = /^[\s,;.*-]*(?:and|or)?\s*$/.test(gap)
    if (!nothing && (gap.length > GAP_LIMIT || /[.!?]\s+[A-Z]|\n\s*\n|=/.test(gap))) break
    first--
  }
  const contents = boxes.slice(first).map(({ content }) => content.trim())
  if (new Set(contents).size < 2) return undefined
  return contents.join(" , ")
}
