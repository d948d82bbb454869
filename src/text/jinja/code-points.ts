/** Python counts and cuts texts by code points, JavaScript by UTF-16 units. */

const BEYOND = /[\ud800-\udbff][\udc00-\udfff]/

/** Whether every character is one UTF-16 unit, so that both count alike. */
export const isPlain = (text: string): boolean => !BEYOND.test(text)

export function codePoints(text: string): string[] {
  return isPlain(text) ? text.split("") : [...text]
}

export function codePointLength(text: string): number {
  if (isPlain(text)) return text.length
  let count = 0
  for (const _ of text) count++
  return count
}

/** Where in UTF-16 units the code point of that number begins. */
export function unitsBefore(text: string, points: number): number {
  if (isPlain(text)) return Math.min(points, text.length)
  let at = 0
  for (let i = 0; i < points && at < text.length; i++) at += text.codePointAt(at)! > 0xffff ? 2 : 1
  return at
}

/** How many code points stand before a place given in UTF-16 units. */
export const pointsBefore = (text: string, units: number): number =>
  units < 0 ? units : codePointLength(text.slice(0, units))

/** Python's order of texts: by code points. */
export function comparedTexts(left: string, right: string): number {
  if (left === right) return 0
  if (isPlain(left) && isPlain(right)) return left < right ? -1 : 1
  const [a, b] = [[...left], [...right]]
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const difference = a[i]!.codePointAt(0)! - b[i]!.codePointAt(0)!
    if (difference !== 0) return difference
  }
  return a.length - b.length
}
