import { type Answer, infinity, openInterval } from "./answer.ts"
import { plainWords } from "./latex.ts"
import { freeSymbols } from "./math-expression.ts"
import { numericValue } from "./numeric.ts"
import { meansNothing } from "./words.ts"

/** The real line and the empty set, by their names. */

const REALS = /^(?:\\mathbb\s*\{?\s*R\s*\}?|\\R|\\Reals|\{\\bf R\})$/
const HALF_LINE =
  /^(?:\\mathbb\s*\{?\s*R\s*\}?|\\R)\s*(?:\^\s*\{?\s*([+-])\s*\}?|_\s*\{\s*([<>])\s*0\s*\})$/
const REALS_WITHOUT =
  /^(?:\\mathbb\s*\{?\s*R\s*\}?|\\R)\s*(?:\\setminus|-|\/)\s*(?:\\left)?\\?\{(.*)\\?\}$/s

/** The real line, all but some points of it, and the empty set in signs or words. */
export function readNamedSet(written: string, next: (part: string) => Answer): Answer | undefined {
  if (REALS.test(written) || /^(?:all )?(?:real numbers|reals)$/i.test(plainWords(written))) {
    return openInterval(infinity(-1), infinity(1), written)
  }
  const half = HALF_LINE.exec(written)
  if (half) {
    const isAbove = half[1] === "+" || half[2] === ">"
    const zero = next("0")
    return isAbove
      ? openInterval(zero, infinity(1), written)
      : openInterval(infinity(-1), zero, written)
  }
  if (/^(?:\\emptyset|\\\{\s*\\\}|\{\s*\})$/.test(written))
    return { kind: "set", items: [], written }
  if (meansNothing(plainWords(written))) return { kind: "set", items: [], written }
  const without = REALS_WITHOUT.exec(written)?.[1]?.replace(/\\$/, "")
  if (without === undefined) return undefined
  const read = next(without)
  return lineWithout(read.kind === "list" ? read.items : [read], written)
}

/** The real line without some constant points, as a union of open intervals. */
export function lineWithout(points: readonly Answer[], written: string): Answer | undefined {
  const placed = points.map((point) => ({ point, at: constantOf(point) }))
  if (placed.some(({ at }) => at === undefined) || placed.length > 20) return undefined
  placed.sort((a, b) => a.at! - b.at!)
  const ends = [infinity(-1), ...placed.map(({ point }) => point), infinity(1)]
  const items = ends.slice(1).map((high, i) => openInterval(ends[i]!, high, written))
  return { kind: "union", items, written }
}

function constantOf(answer: Answer): number | undefined {
  if (answer.kind !== "scalar" || freeSymbols(answer.value).size > 0) return undefined
  const { re, im } = numericValue(answer.value, () => Number.NaN)
  return Number.isFinite(re) && Math.abs(im) < 1e-9 ? re : undefined
}
