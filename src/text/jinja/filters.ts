import { attribute, item } from "./attributes.ts"
import { joinedText, spend, spendText } from "./budget.ts"
import { codePointLength, codePoints } from "./code-points.ts"
import { capitalized } from "./letter-case.ts"
import {
  asDouble,
  isNumber,
  parsedFloat,
  parsedInteger,
  plainDigits,
  rounded,
  signed,
} from "./numbers.ts"
import { binary, escaped } from "./operators.ts"
import { repr, text } from "./printing.ts"
import { SPACE, splitLines } from "./python-space.ts"
import { iterate, iteratorOf, length, listOf, reversedItems } from "./sequences.ts"
import { type Signature, signature, textArgument, wholeArgument } from "./signatures.ts"
import { percentFormat } from "./text-format.ts"
import { centred, replaced, stripped } from "./text-methods.ts"
import { json, jsonOptions } from "./to-json.ts"
import {
  Dict,
  Float,
  Generator,
  isInteger,
  isTrue,
  Markup,
  refuse,
  Tuple,
  typeName,
  Undefined,
  type Value,
} from "./values.ts"

export type Filter = Signature<Value>

const onText = (change: (text: string) => string): Filter =>
  signature("", (value) => {
    const given = text(value)
    spendText(given.length)
    return change(given)
  })

const flag = (value: Value | undefined, preset = false): boolean =>
  value === undefined ? preset : isTrue(value)

const BETWEEN_WORDS = new RegExp(`((?:[-({[<]|${SPACE})+)`)

/** Jinja's own `title`: words begin after white space, a hyphen or an opening bracket. */
function titledWords(given: string): string {
  return given
    .split(BETWEEN_WORDS)
    .map((word) => {
      const [first = ""] = word
      return first.toUpperCase() + word.slice(first.length).toLowerCase()
    })
    .join("")
}

function indented(value: Value, args: readonly (Value | undefined)[]): string {
  const [width = 4, first, blank] = args
  const step = typeof width === "string" ? width : " ".repeat(spaces(width))
  const given = binary("+", value, "\n") as string
  const lines = splitLines(given)
  spendText(given.length + lines.length * step.length)
  const start = flag(first) ? step : ""
  if (flag(blank)) return start + lines.join(`\n${step}`)
  const [head = "", ...rest] = lines
  return [start + head, ...rest.map((line) => (line === "" ? line : step + line))].join("\n")
}

function spaces(width: Value): number {
  const count = Math.max(0, wholeArgument(width, 4, "indent"))
  spendText(count)
  return count
}

function truncated(value: Value, args: readonly (Value | undefined)[]): Value {
  const [size, kill, end = "...", leeway] = args
  if (typeof value !== "string" || typeof end !== "string") return refuse("truncate() needs texts")
  const limit = wholeArgument(size, 255, "truncate")
  const slack = leeway === undefined || leeway === null ? 5 : wholeArgument(leeway, 5, "truncate")
  const tail = codePointLength(end)
  if (limit < tail || slack < 0) refuse(`expected length >= ${tail}, got ${limit}`)
  const points = codePoints(value)
  if (points.length <= limit + slack) return value
  const kept = points.slice(0, limit - tail).join("")
  const cut = flag(kill) ? kept.length : kept.lastIndexOf(" ")
  return (cut < 0 ? kept : kept.slice(0, cut)) + end
}

function toInteger(value: Value, preset: Value, base: number): Value {
  if (typeof value === "string") {
    const clean = plainDigits(stripped(value, undefined, "both"))
    const whole = parsedInteger(clean, base)
    if (whole !== undefined) return whole
    const double = parsedFloat(clean)
    return double === undefined || Number.isNaN(double) ? preset : truncatedWhole(double, preset)
  }
  if (value instanceof Undefined) return refuse(value.why)
  if (typeof value === "boolean") return Number(value)
  if (value instanceof Float) return truncatedWhole(value.value, preset)
  return isInteger(value) ? value : preset
}

function truncatedWhole(double: number, preset: Value): Value {
  if (Number.isNaN(double)) return preset
  if (!Number.isFinite(double)) return refuse("cannot convert float infinity to integer")
  const whole = BigInt(Math.trunc(double))
  return Number.isSafeInteger(Number(whole)) ? Number(whole) : whole
}

function toFloat(value: Value, preset: Value): Value {
  if (value instanceof Undefined) return refuse(value.why)
  if (isNumber(value)) return new Float(asDouble(value))
  if (typeof value !== "string") return preset
  const double = parsedFloat(plainDigits(stripped(value, undefined, "both")))
  return double === undefined ? preset : new Float(double)
}

function roundedValue(value: Value, precision: Value | undefined, method: Value | undefined) {
  const decimals = wholeArgument(precision, 0, "round")
  const how = method ?? "common"
  if (how !== "common" && how !== "ceil" && how !== "floor") {
    return refuse("method must be common, ceil or floor")
  }
  if (value instanceof Undefined) return refuse(value.why)
  if (!isNumber(value)) return refuse(`type ${typeName(value)} doesn't define __round__ method`)
  if (how === "common") {
    if (value instanceof Float) return new Float(rounded(value.value, decimals))
    if (decimals < 0) return refuse("round() to tens of an integer is not supported here")
    return typeof value === "boolean" ? Number(value) : value
  }
  const unit = 10 ** decimals
  return new Float(Math[how](asDouble(value) * unit) / unit)
}

function* batched(value: Value, size: number, fill: Value): Iterable<Value> {
  let batch: Value[] = []
  const iterator = iterate(value)
  for (let step = iterator.next(); !step.done; step = iterator.next()) {
    if (batch.length === size) {
      yield batch
      batch = []
    }
    batch.push(step.value)
  }
  if (batch.length === 0) return
  if (fill !== null) while (batch.length < size) batch.push(fill)
  yield batch
}

function* sliced(value: Value, parts: number, fill: Value): Iterable<Value> {
  const items = listOf(value)
  const size = Math.floor(items.length / parts)
  const larger = items.length % parts
  let at = 0
  for (let i = 0; i < parts; i++) {
    spend(1)
    const end = at + size + (i < larger ? 1 : 0)
    const part = items.slice(at, end)
    if (fill !== null && i >= larger) part.push(fill)
    yield part
    at = end
  }
}

function* itemPairs(value: Value): Iterable<Value> {
  if (value instanceof Undefined) return
  if (!(value instanceof Dict)) refuse("Can only get item pairs from a mapping.")
  for (const pair of (value as Dict).pairs()) yield new Tuple(pair)
}

const escaping = signature<Value>("", escaped)
const counting = signature<Value>("", (value) => length(value))
const defaulting = signature<Value>("default_value? boolean?", (value, [preset, boolean]) => {
  const isMissing = value instanceof Undefined || (flag(boolean) && !isTrue(value))
  return isMissing ? (preset ?? "") : value
})

/** What a part of a filter's `attribute` path leads to. */
export function attributePath(path: Value | undefined): (value: Value, preset?: Value) => Value {
  const parts: readonly Value[] =
    path === undefined || path === null
      ? []
      : typeof path === "string"
        ? path.split(".").map((part) => (/^\d+$/.test(part) ? Number(part) : part))
        : [path]
  return (value, preset) => {
    let at = value
    for (const part of parts) {
      at = item(at, part)
      if (preset !== undefined && preset !== null && at instanceof Undefined) at = preset
    }
    return at
  }
}

/** Jinja2's filters of one value; those that take other filters or order things are elsewhere. */
export const FILTERS: Readonly<Record<string, Filter>> = {
  abs: signature("", (value) => {
    if (!isNumber(value)) {
      return refuse(
        value instanceof Undefined ? value.why : `bad operand type for abs(): '${typeName(value)}'`,
      )
    }
    const negative = value instanceof Float ? value.value < 0 : Number(value) < 0
    return negative ? signed("-", value) : signed("+", value)
  }),
  attr: signature("name", (value, [name]) => {
    const found = attribute(value, textArgument(name, "attr"))
    // the filter never falls back on the item of a dict
    const isItem = value instanceof Dict && value.get(name!) === found
    return isItem ? new Undefined(`no attribute ${repr(name!)}`) : found
  }),
  batch: signature("linecount fill_with?", (value, [size, fill]) => {
    return new Generator(batched(value, wholeArgument(size, 1, "batch"), fill ?? null))
  }),
  capitalize: onText(capitalized),
  center: signature("width?", (value, [width]) =>
    centred(text(value), wholeArgument(width, 80, "center")),
  ),
  count: counting,
  d: defaulting,
  default: defaulting,
  first: signature("", (value) => {
    const step = iterate(value).next()
    return step.done ? new Undefined("No first item, sequence was empty.") : step.value
  }),
  float: signature("default?", (value, [preset]) =>
    toFloat(value, preset === undefined ? new Float(0) : preset),
  ),
  indent: signature("width? first? blank?", indented),
  int: signature("default? base?", (value, [preset, base]) =>
    toInteger(value, preset === undefined ? 0 : preset, wholeArgument(base, 10, "int")),
  ),
  items: signature("", (value) => new Generator(itemPairs(value))),
  join: signature("d? attribute?", (value, [separator, path]) => {
    const by = text(separator === undefined ? "" : separator)
    const at = attributePath(path)
    let made = ""
    let isFirst = true
    const iterator = iterate(value)
    for (let step = iterator.next(); !step.done; step = iterator.next()) {
      made = joinedText(made, (isFirst ? "" : by) + text(at(step.value)))
      isFirst = false
    }
    return made
  }),
  last: signature("", (value) => {
    const items = reversedItems(value) ?? refuse(`'${typeName(value)}' object is not reversible`)
    return items[0] ?? new Undefined("No last item, sequence was empty.")
  }),
  length: counting,
  list: signature("", listOf),
  lower: onText((given) => given.toLowerCase()),
  replace: signature("old new count?", (value, [old, by, times]) => {
    const count = times === undefined || times === null ? -1 : wholeArgument(times, -1, "replace")
    return replaced(text(value), text(old!), text(by!), count)
  }),
  reverse: signature("", (value) => {
    if (typeof value === "string") return codePoints(value).reverse().join("")
    const items = reversedItems(value)
    if (items !== undefined) return new Generator(items, "list_reverseiterator")
    return iteratorOf(value) === undefined
      ? refuse("argument must be iterable")
      : listOf(value).reverse()
  }),
  round: signature("precision? method?", (value, [precision, method]) =>
    roundedValue(value, precision, method),
  ),
  slice: signature("slices fill_with?", (value, [parts, fill]) => {
    const count = wholeArgument(parts, 1, "slice")
    if (count === 0) refuse("integer division or modulo by zero")
    return new Generator(sliced(value, count, fill ?? null))
  }),
  ...{ e: escaping, escape: escaping, forceescape: signature("", (value) => escaped(text(value))) },
  safe: signature("", (value) => new Markup(text(value))),
  string: signature("", (value) => (value instanceof Markup ? value : text(value))),
  title: onText(titledWords),
  tojson: signature("ensure_ascii? indent? separators? sort_keys?", (value, args) =>
    json(value, jsonOptions(args[0], args[1], args[2], args[3])),
  ),
  trim: signature("chars?", (value, [chars]) => stripped(text(value), chars, "both")),
  truncate: signature("length? killwords? end? leeway?", truncated),
  upper: onText((given) => given.toUpperCase()),
  wordcount: signature("", (value) => text(value).match(/[\p{L}\p{N}_]+/gu)?.length ?? 0),
}

/** `value|format(...)`: Python's `%`. */
export function formatted(value: Value, args: readonly Value[], named: ReadonlyMap<string, Value>) {
  if (args.length > 0 && named.size > 0) refuse("can't handle positional and keyword arguments")
  return percentFormat(text(value), named.size > 0 ? new Dict(named) : new Tuple(args))
}
