/** Two texts beside each other, for a terminal. */

/** A piece of text, and how it is painted once it is cut to a line. */
export interface Piece {
  readonly text: string
  readonly paint: (line: string) => string
}

const WIDE =
  /\p{Script=Han}|\p{Script=Hiragana}|\p{Script=Katakana}|\p{Script=Hangul}|\p{Extended_Pictographic}/u

/** Columns of a terminal that a character takes. */
const widthOf = (character: string) => (/\p{M}/u.test(character) ? 0 : WIDE.test(character) ? 2 : 1)

interface Line {
  readonly text: string
  readonly width: number
}

/** Cut at line breaks and at `width` columns. */
function lines(pieces: readonly Piece[], width: number): Line[] {
  const found: Line[] = []
  let line = { text: "", width: 0 }
  const end = () => {
    found.push(line)
    line = { text: "", width: 0 }
  }
  for (const { text, paint } of pieces) {
    let held = ""
    const put = () => {
      if (held !== "") line = { ...line, text: line.text + paint(held) }
      held = ""
    }
    for (const character of text) {
      const columns = widthOf(character)
      if (character === "\n" || line.width + columns > width) {
        put()
        end()
        if (character === "\n") continue
      }
      held += character
      line = { ...line, width: line.width + columns }
    }
    put()
  }
  end()
  return found
}

/** Both in columns of a line `width` wide, with a rule between them. */
export function sideBySide(left: readonly Piece[], right: readonly Piece[], width: number): string {
  const half = Math.max(8, Math.floor((width - 3) / 2))
  const [a, b] = [lines(left, half), lines(right, half)]
  const rows = Array.from({ length: Math.max(a.length, b.length) }, (_, i) => {
    const { text, width: used } = a[i] ?? { text: "", width: 0 }
    return `${text}${" ".repeat(half - used)} │ ${b[i]?.text ?? ""}`.trimEnd()
  })
  return rows.join("\n")
}
