/** Rows of a person's own, parted into those that are trained on and those held out. */
export interface OwnTexts {
  readonly train: string
  readonly heldOut: string
  /** false: there are too few to hold any out, and those trained on are measured. */
  readonly isHeldOut: boolean
}

const MOST_HELD_OUT = 32
/** One row in so many is held out, of at least twice as many. */
const SHARE = 5

/**
 * The last rows are held out. Both texts keep the numbers of their lines, which messages name; a
 * text that is no list of rows is left whole, for who reads it to say what is wrong.
 */
export function ownTexts(text: string): OwnTexts {
  const lines = text.trimStart().startsWith("[") ? items(text) : text.split("\n")
  const full = lines?.flatMap((line, i) => (line.trim() === "" ? [] : [i])) ?? []
  if (!lines || full.length < 2 * SHARE) return { train: text, heldOut: text, isHeldOut: false }
  const first = full.at(-Math.min(MOST_HELD_OUT, Math.floor(full.length / SHARE)))!
  return {
    train: lines.slice(0, first).join("\n"),
    heldOut: "\n".repeat(first) + lines.slice(first).join("\n"),
    isHeldOut: true,
  }
}

/** The items of a JSON list as they are written, each on a line; undefined for what is no list. */
function items(text: string): string[] | undefined {
  try {
    if (!Array.isArray(JSON.parse(text))) return undefined
  } catch {
    return undefined
  }
  const found: string[] = []
  let [depth, start] = [0, 0]
  for (const { 0: token, index } of text.matchAll(/"(?:[^"\\]|\\.)*"|[[\]{},]/g)) {
    const isOpening = token === "[" || token === "{"
    const isClosing = token === "]" || token === "}"
    if (isOpening && ++depth === 1) start = index + 1
    const ends = depth === 1 && (token === "," || token === "]")
    if (isClosing) depth--
    if (!ends) continue
    found.push(text.slice(start, index).replaceAll(/[\n\r]/g, " "))
    start = index + 1
  }
  return found
}
