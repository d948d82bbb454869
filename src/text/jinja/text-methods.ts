import { spend, spendText } from "./budget.ts"
import { codePointLength, codePoints, isPlain, pointsBefore, unitsBefore } from "./code-points.ts"
import { capitalized, swapped, titled } from "./letter-case.ts"
import { padded } from "./number-format.ts"
import { isSpace, spacedWords, splitLines, stripEnd, stripStart } from "./python-space.ts"
import { listOf } from "./sequences.ts"
import { type Signature, signature, textArgument, wholeArgument } from "./signatures.ts"
import { isInteger, refuse, Tuple, typeName, type Value } from "./values.ts"

type Args = readonly (Value | undefined)[]
type Method = Signature<string>

const isNone = (value: Value | undefined): value is null | undefined =>
  value === null || value === undefined

/** `strip`, `lstrip` and `rstrip`, with white space or with the characters given. */
export function stripped(text: string, given: Value | undefined, ends: "both" | "left" | "right") {
  const chars = isNone(given) ? undefined : new Set(textArgument(given, "strip"))
  spendText(text.length)
  if (chars === undefined) {
    const front = ends === "right" ? text : stripStart(text)
    return ends === "left" ? front : stripEnd(front)
  }
  const points = isPlain(text) ? text : codePoints(text)
  let [start, end] = [0, points.length]
  if (ends !== "right") while (start < end && chars.has(points[start]!)) start++
  if (ends !== "left") while (end > start && chars.has(points[end - 1]!)) end--
  const kept = points.slice(start, end)
  return typeof kept === "string" ? kept : kept.join("")
}

/** Python's `str.replace`; a count below 0 is no limit. */
export function replaced(text: string, old: string, by: string, count: number): string {
  if (old === "") return betweenAll(text, by, count)
  const places: number[] = []
  for (let at = text.indexOf(old); at >= 0; at = text.indexOf(old, at + old.length)) {
    if (count >= 0 && places.length >= count) break
    spend(4)
    places.push(at)
  }
  spendText(text.length + places.length * by.length)
  let made = ""
  let from = 0
  for (const at of places) {
    made += text.slice(from, at) + by
    from = at + old.length
  }
  return made + text.slice(from)
}

/** Before every character and at the end, as often as `count` allows. */
function betweenAll(text: string, by: string, count: number): string {
  const points = codePoints(text)
  const times = count < 0 ? points.length + 1 : count
  spendText(text.length + Math.min(times, points.length + 1) * by.length)
  const front = points.map((point, i) => (i < times ? by + point : point)).join("")
  return times > points.length ? front + by : front
}

function splitText(text: string, separator: Value | undefined, count: number): string[] {
  spendText(text.length)
  if (isNone(separator)) return splitAtSpace(text, count)
  const by = textArgument(separator, "split")
  if (by === "") refuse("empty separator")
  const parts = text.split(by)
  if (count < 0 || parts.length <= count + 1) return parts
  return [...parts.slice(0, count), parts.slice(count).join(by)]
}

function splitAtSpace(text: string, count: number): string[] {
  if (count < 0) return spacedWords(text)
  const parts: string[] = []
  let rest = stripStart(text)
  while (rest !== "" && parts.length < count) {
    const [word] = spacedWords(rest)
    parts.push(word!)
    rest = stripStart(rest.slice(word!.length))
  }
  if (rest !== "") parts.push(rest)
  return parts
}

function splitFromEnd(text: string, separator: Value | undefined, count: number): string[] {
  spendText(text.length)
  if (count < 0) return splitText(text, separator, count)
  if (!isNone(separator)) {
    const by = textArgument(separator, "rsplit")
    if (by === "") refuse("empty separator")
    const parts = text.split(by)
    const kept = Math.max(0, parts.length - count)
    return kept <= 1 ? parts : [parts.slice(0, kept).join(by), ...parts.slice(kept)]
  }
  const parts: string[] = []
  let rest = stripEnd(text)
  while (rest !== "" && parts.length < count) {
    const word = spacedWords(rest).at(-1)!
    parts.unshift(word)
    rest = stripEnd(rest.slice(0, rest.length - word.length))
  }
  if (rest !== "") parts.unshift(rest)
  return parts
}

/** The part of a text that `find`, `count` and `startswith` look at, and where it begins. */
function windowOf(text: string, start: Value | undefined, end: Value | undefined, where: string) {
  const length = codePointLength(text)
  const place = (value: Value | undefined, preset: number) => {
    const at = isNone(value) ? preset : wholeArgument(value, preset, where)
    return at < 0 ? Math.max(0, at + length) : at
  }
  const [from, to] = [place(start, 0), Math.min(place(end, length), length)]
  const units = unitsBefore(text, Math.min(from, length))
  const inside = to < from ? undefined : text.slice(units, unitsBefore(text, to))
  return { from, inside: from > length ? undefined : inside }
}

const finding = (last: boolean, name: string, missing: boolean): Method =>
  signature("/sub start? end?", (text, [sub, start, end]) => {
    const wanted = textArgument(sub, name)
    const { from, inside } = windowOf(text, start, end, name)
    const units = inside === undefined ? -1 : inside[last ? "lastIndexOf" : "indexOf"](wanted)
    if (units < 0) return missing ? -1 : refuse("substring not found")
    return from + pointsBefore(inside!, units)
  })

const edge = (name: "startswith" | "endswith"): Method =>
  signature("/prefix start? end?", (text, [prefix, start, end]) => {
    const all = prefix instanceof Tuple ? prefix.items : [prefix]
    const { inside } = windowOf(text, start, end, name)
    return all.some((one) => {
      const wanted = textArgument(one, name)
      if (inside === undefined) return false
      return name === "startswith" ? inside.startsWith(wanted) : inside.endsWith(wanted)
    })
  })

const parted = (last: boolean): Method =>
  signature("/sep", (text, [separator]) => {
    const by = textArgument(separator, "partition")
    if (by === "") refuse("empty separator")
    const at = last ? text.lastIndexOf(by) : text.indexOf(by)
    if (at < 0) return new Tuple(last ? ["", "", text] : [text, "", ""])
    return new Tuple([text.slice(0, at), by, text.slice(at + by.length)])
  })

const justified = (align: "<" | ">"): Method =>
  signature("/width fillchar?", (text, [width, fill]) =>
    padded(text, { fill: fillOf(fill), align, width: wholeArgument(width, 0, "ljust") }),
  )

function fillOf(value: Value | undefined): string {
  const fill = value === undefined ? " " : textArgument(value, "center")
  return codePointLength(fill) === 1
    ? fill
    : refuse("The fill character must be exactly one character long")
}

/** Python's `str.center`: an odd space more goes to the left where the width is odd. */
export function centred(text: string, width: number, fill = " "): string {
  const missing = width - codePointLength(text)
  if (missing <= 0) return text
  spendText(width)
  const before = Math.floor(missing / 2) + (missing & width & 1)
  return fill.repeat(before) + text + fill.repeat(missing - before)
}

function zeroFilled(text: string, width: number): string {
  const [sign, digits] = /^[+-]/.test(text) ? [text[0]!, text.slice(1)] : ["", text]
  return padded(digits, { fill: "0", align: "=", width }, sign)
}

function expanded(text: string, size: number): string {
  let column = 0
  let made = ""
  for (const char of text) {
    if (char === "\t") {
      const spaces = size > 0 ? size - (column % size) : 0
      spendText(made.length / 64 + spaces)
      made += " ".repeat(spaces)
      column += spaces
    } else {
      made += char
      column = char === "\n" || char === "\r" ? 0 : column + 1
    }
  }
  return made
}

const SUPERSCRIPTS =
  "\\u{b2}-\\u{b3}\\u{b9}\\u{1369}-\\u{1371}\\u{19da}\\u{2070}\\u{2074}-\\u{2079}\\u{2080}-\\u{2089}" +
  "\\u{2460}-\\u{2468}\\u{2474}-\\u{247c}\\u{2488}-\\u{2490}\\u{24ea}\\u{24f5}-\\u{24fd}\\u{24ff}" +
  "\\u{2776}-\\u{277e}\\u{2780}-\\u{2788}\\u{278a}-\\u{2792}\\u{10a40}-\\u{10a43}" +
  "\\u{10e60}-\\u{10e68}\\u{11052}-\\u{1105a}\\u{1f100}-\\u{1f10a}"
const DIGITS = new RegExp(`^[\\p{Nd}${SUPERSCRIPTS}]+$`, "u")

const asking = (holds: (text: string) => boolean): Method => signature("/", holds)
const casing = (change: (text: string) => string): Method =>
  signature("/", (text) => {
    spendText(text.length)
    return change(text)
  })

/** Of all its cased letters, and it has one. */
export const isLower = (text: string): boolean =>
  /\p{Lowercase}/u.test(text) && !/[\p{Uppercase}\p{Lt}]/u.test(text)
export const isUpper = (text: string): boolean =>
  /\p{Uppercase}/u.test(text) && !/[\p{Lowercase}\p{Lt}]/u.test(text)

/** Letters that are numbers, such as 五, are not told from others here. */
function isNumeric(text: string): boolean {
  if (/\p{Lo}/u.test(text)) refuse("isnumeric() of such letters is not supported here")
  return /^\p{N}+$/u.test(text)
}

function joinedItems(separator: string, value: Value | undefined): string {
  const items = listOf(value!).map((item, i) =>
    typeof item === "string"
      ? item
      : refuse(`sequence item ${i}: expected str instance, ${typeName(item)} found`),
  )
  spendText(items.reduce((sum, item) => sum + item.length + separator.length, 0))
  return items.join(separator)
}

const count: Signature<string>["run"] = (text, [sub, start, end]: Args) => {
  const wanted = textArgument(sub, "count")
  const { inside } = windowOf(text, start, end, "count")
  if (inside === undefined) return 0
  return wanted === "" ? codePointLength(inside) + 1 : inside.split(wanted).length - 1
}

const splitting = (split: typeof splitText): Method =>
  signature("sep? maxsplit?", (text, [separator, limit]) =>
    split(text, separator, wholeArgument(limit, -1, "split")),
  )

/** Methods of Python's `str`. `format` is among the attributes, since it looks values up. */
export const TEXT_METHODS: Readonly<Record<string, Method>> = {
  capitalize: casing(capitalized),
  casefold: casing((text) => text.toLowerCase().replaceAll("ß", "ss").replaceAll("ς", "σ")),
  center: signature("/width fillchar?", (text, [width, fill]) =>
    centred(text, wholeArgument(width, 0, "center"), fillOf(fill)),
  ),
  count: signature("/sub start? end?", count),
  endswith: edge("endswith"),
  expandtabs: signature("tabsize?", (text, [size]) =>
    expanded(text, wholeArgument(size, 8, "expandtabs")),
  ),
  find: finding(false, "find", true),
  index: finding(false, "index", false),
  isalnum: asking((text) => /^[\p{L}\p{N}]+$/u.test(text)),
  isalpha: asking((text) => /^\p{L}+$/u.test(text)),
  isascii: asking((text) => /^[\0-\x7f]*$/.test(text)),
  isdecimal: asking((text) => /^\p{Nd}+$/u.test(text)),
  isdigit: asking((text) => DIGITS.test(text)),
  isidentifier: asking((text) => /^[\p{XID_Start}_]\p{XID_Continue}*$/u.test(text)),
  islower: asking(isLower),
  isnumeric: asking(isNumeric),
  isprintable: asking((text) => !/[\p{C}\p{Z}]/u.test(text.replaceAll(" ", ""))),
  isspace: asking(isSpace),
  istitle: asking((text) => /\p{Cased}/u.test(text) && titled(text) === text),
  isupper: asking(isUpper),
  join: signature("/iterable", (text, [items]) => joinedItems(text, items)),
  ljust: justified("<"),
  lower: casing((text) => text.toLowerCase()),
  lstrip: signature("/chars?", (text, [chars]) => stripped(text, chars, "left")),
  partition: parted(false),
  removeprefix: signature("/prefix", (text, [prefix]) => {
    const front = textArgument(prefix, "removeprefix")
    return text.startsWith(front) ? text.slice(front.length) : text
  }),
  removesuffix: signature("/suffix", (text, [suffix]) => {
    const back = textArgument(suffix, "removesuffix")
    return back !== "" && text.endsWith(back) ? text.slice(0, -back.length) : text
  }),
  replace: signature("/old new count?", (text, [old, by, times]) =>
    replaced(
      text,
      textArgument(old, "replace"),
      textArgument(by, "replace"),
      wholeArgument(times, -1, "replace"),
    ),
  ),
  rfind: finding(true, "rfind", true),
  rindex: finding(true, "rindex", false),
  rjust: justified(">"),
  rpartition: parted(true),
  rsplit: splitting(splitFromEnd),
  rstrip: signature("/chars?", (text, [chars]) => stripped(text, chars, "right")),
  split: splitting(splitText),
  splitlines: signature("keepends?", (text, [keep]) => {
    spendText(text.length)
    return splitLines(text, keep !== undefined && isInteger(keep) && Number(keep) !== 0)
  }),
  startswith: edge("startswith"),
  strip: signature("/chars?", (text, [chars]) => stripped(text, chars, "both")),
  swapcase: casing(swapped),
  title: casing(titled),
  upper: casing((text) => text.toUpperCase()),
  zfill: signature("/width", (text, [width]) => zeroFilled(text, wholeArgument(width, 0, "zfill"))),
}

/** Attributes of `str` that are refused by name. */
export const OTHER_TEXT_ATTRIBUTES: ReadonlySet<string> = new Set([
  "encode",
  "maketrans",
  "translate",
])
