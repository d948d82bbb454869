import { joinedText, spend, spendText } from "./budget.ts"
import { comparedTexts } from "./code-points.ts"
import { arithmetic, asDouble, isNumber } from "./numbers.ts"
import { text } from "./printing.ts"
import { iterate, iteratorOf, listOf } from "./sequences.ts"
import type { BinaryOp, CompareOp } from "./syntax.ts"
import { percentFormat } from "./text-format.ts"
import {
  Dict,
  Float,
  hashable,
  isInteger,
  Markup,
  Range,
  refuse,
  Tuple,
  typeName,
  Undefined,
  type Value,
  View,
} from "./values.ts"

/** @throws InputError where Python raises, in its words */
export function binary(op: BinaryOp, left: Value, right: Value): Value {
  if (op === "+") return sum(left, right)
  if (op === "*") {
    const repeated = repetition(left, right) ?? repetition(right, left)
    if (repeated !== undefined) return repeated
  }
  if (op === "%" && typeof left === "string") {
    if (right instanceof Undefined) return refuse(right.why)
    return percentFormat(left, right)
  }
  return arithmetic(op, left, right)
}

function sum(left: Value, right: Value): Value {
  if (typeof left === "string" && typeof right === "string") return joinedText(left, right)
  if (left instanceof Undefined) return refuse(left.why)
  if (right instanceof Undefined) return refuse(right.why)
  const marked = left instanceof Markup || right instanceof Markup
  if (marked && isText(left) && isText(right)) {
    return new Markup(joinedText(escaped(left).text, escaped(right).text))
  }
  if (Array.isArray(left) && Array.isArray(right)) return appended(left, right)
  if (left instanceof Tuple && right instanceof Tuple) {
    return new Tuple(appended(left.items, right.items))
  }
  const type = typeName(left)
  if (type === "str" || type === "list" || type === "tuple") {
    return refuse(`can only concatenate ${type} (not "${typeName(right)}") to ${type}`)
  }
  return arithmetic("+", left, right)
}

const isText = (value: Value) => typeof value === "string" || value instanceof Markup

const ENTITIES: Readonly<Record<string, string>> = {
  ...{ "&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&#39;", '"': "&#34;" },
}

/** A value as a text that is safe in HTML (markupsafe.escape). */
export function escaped(value: Value): Markup {
  if (value instanceof Markup) return value
  const plain = text(value)
  spendText(plain.length * 2)
  return new Markup(plain.replace(/[&<>'"]/g, (char) => ENTITIES[char]!))
}

function appended(left: readonly Value[], right: readonly Value[]): Value[] {
  spend(left.length + right.length)
  return [...left, ...right]
}

function repetition(what: Value, times: Value): Value | undefined {
  if (!isInteger(times)) return undefined
  const count = Math.max(0, Number(times))
  if (typeof what === "string") {
    spendText(what.length * count)
    return what.repeat(count)
  }
  const items = Array.isArray(what) ? what : what instanceof Tuple ? what.items : undefined
  if (items === undefined) return undefined
  spend(items.length * count)
  const all = Array.from({ length: count }, () => items).flat()
  return what instanceof Tuple ? new Tuple(all) : all
}

/** Python's `==`. */
export function equal(left: Value, right: Value): boolean {
  if (left === right) return true
  if (left instanceof Markup) return equal(left.text, right)
  if (right instanceof Markup) return equal(left, right.text)
  if (typeof left === "string" || typeof right === "string") return false
  if (isNumber(left) && isNumber(right)) return compareNumbers(left, right) === 0
  if (left instanceof Undefined) return right instanceof Undefined
  spend(1)
  if (Array.isArray(left)) return Array.isArray(right) && sameItems(left, right)
  if (left instanceof Tuple) return right instanceof Tuple && sameItems(left.items, right.items)
  if (left instanceof Dict) return right instanceof Dict && sameEntries(left, right)
  if (left instanceof Range) return right instanceof Range && sameItems(listOf(left), listOf(right))
  if (left instanceof View && right instanceof View) {
    if (left.kind === "values" || right.kind === "values") return false
    const [a, b] = [listOf(left), listOf(right)]
    return a.length === b.length && a.every((item) => b.some((other) => equal(item, other)))
  }
  return false
}

const sameItems = (left: readonly Value[], right: readonly Value[]) =>
  left.length === right.length && left.every((item, i) => equal(item, right[i]!))

function sameEntries(left: Dict, right: Dict): boolean {
  if (left.size !== right.size) return false
  for (const [key, value] of left.pairs()) {
    const other = right.get(key)
    if (other === undefined || !equal(value, other)) return false
  }
  return true
}

/** Below 0, 0, above 0; NaN where one of them is no number. */
function compareNumbers(
  left: number | bigint | boolean | Float,
  right: number | bigint | boolean | Float,
): number {
  const a = left instanceof Float ? left.value : left
  const b = right instanceof Float ? right.value : right
  if (Number.isNaN(a) || Number.isNaN(b)) return Number.NaN
  return a < b ? -1 : a > b ? 1 : 0
}

export function compare(op: CompareOp, left: Value, right: Value): boolean {
  switch (op) {
    case "==":
      return equal(left, right)
    case "!=":
      return !equal(left, right)
    case "in":
      return contains(right, left)
    case "not in":
      return !contains(right, left)
    default:
      return inOrder(op, left, right)
  }
}

const HOLDS: Readonly<Record<"<" | "<=" | ">" | ">=", (order: number) => boolean>> = {
  "<": (order) => order < 0,
  "<=": (order) => order <= 0,
  ">": (order) => order > 0,
  ">=": (order) => order >= 0,
}

function inOrder(op: "<" | "<=" | ">" | ">=", left: Value, right: Value): boolean {
  if (left instanceof Undefined) return refuse(left.why)
  if (right instanceof Undefined) return refuse(right.why)
  if (isNumber(left) && isNumber(right)) return HOLDS[op](compareNumbers(left, right))
  if (typeof left === "string" && typeof right === "string") {
    return HOLDS[op](comparedTexts(left, right))
  }
  const [a, b] = [sequenceItems(left), sequenceItems(right)]
  if (a !== undefined && b !== undefined && typeName(left) === typeName(right)) {
    for (let i = 0; i < Math.min(a.length, b.length); i++) {
      if (!equal(a[i]!, b[i]!)) return inOrder(op, a[i]!, b[i]!)
    }
    return HOLDS[op](a.length - b.length)
  }
  return refuse(
    `'${op}' not supported between instances of '${typeName(left)}' and '${typeName(right)}'`,
  )
}

const sequenceItems = (value: Value): readonly Value[] | undefined =>
  Array.isArray(value) ? value : value instanceof Tuple ? value.items : undefined

/** Python's `in`. */
export function contains(where: Value, what: Value): boolean {
  if (typeof where === "string") {
    if (typeof what === "string") return where.includes(what)
    return refuse(`'in <string>' requires string as left operand, not ${typeName(what)}`)
  }
  if (where instanceof Dict) return where.get(what) !== undefined
  if (where instanceof View && where.kind === "keys") return where.of.get(what) !== undefined
  if (iteratorOf(where) === undefined) {
    return refuse(`argument of type '${typeName(where)}' is not iterable`)
  }
  const iterator = iterate(where)
  for (let step = iterator.next(); !step.done; step = iterator.next()) {
    spend(1)
    if (equal(step.value, what)) return true
  }
  return false
}

/** Python's `sorted`: stable, by keys that must compare. */
export function sortedBy<T>(items: readonly T[], key: (item: T) => Value, reverse: boolean): T[] {
  const keyed = items.map((item) => ({ item, key: key(item) }))
  spend(items.length * Math.ceil(Math.log2(items.length + 2)))
  const order = (a: Value, b: Value) => (inOrder("<", a, b) ? -1 : inOrder("<", b, a) ? 1 : 0)
  keyed.sort((a, b) => (reverse ? order(b.key, a.key) : order(a.key, b.key)))
  return keyed.map(({ item }) => item)
}

/** A value that may stand for a set's member. @throws InputError when it cannot be hashed */
export function memberOf(value: Value): Value {
  return hashable(value) ? value : refuse(`unhashable type: '${typeName(value)}'`)
}

/** Python's float of a value. */
export const floatOf = (value: Value): Float =>
  isNumber(value)
    ? new Float(asDouble(value))
    : refuse(`float() argument must be a string or a real number, not '${typeName(value)}'`)
