import { spend, spendText } from "./budget.ts"
import { codePointLength, codePoints, isPlain } from "./code-points.ts"
import {
  Dict,
  Generator,
  isInteger,
  Markup,
  Range,
  refuse,
  Thing,
  Tuple,
  typeName,
  Undefined,
  type Value,
  View,
} from "./values.ts"

/** What a loop over a value gives. @throws InputError where Python cannot iterate */
export function iterate(value: Value): Iterator<Value> {
  return iteratorOf(value) ?? refuse(`'${typeName(value)}' object is not iterable`)
}

export function iteratorOf(value: Value): Iterator<Value> | undefined {
  if (Array.isArray(value)) return value.values()
  if (typeof value === "string") return codePoints(value).values()
  if (value instanceof Markup) return codePoints(value.text).values()
  if (value instanceof Tuple) return value.items.values()
  if (value instanceof Dict) return value.keys()[Symbol.iterator]()
  if (value instanceof Range) return rangeValues(value)
  if (value instanceof View) return viewValues(value)[Symbol.iterator]()
  if (value instanceof Generator) return value.iterator
  if (value instanceof Undefined) return [].values()
  return value instanceof Thing ? value.iterator() : undefined
}

function* rangeValues(range: Range): IterableIterator<Value> {
  for (let i = 0; i < range.length; i++) yield range.at(i)
}

function* viewValues({ of, kind }: View): Iterable<Value> {
  if (kind === "keys") yield* of.keys()
  else if (kind === "values") yield* of.values()
  else for (const pair of of.pairs()) yield new Tuple(pair)
}

/** All that a loop would give. */
export function listOf(value: Value): Value[] {
  const items: Value[] = []
  const iterator = iterate(value)
  for (let step = iterator.next(); !step.done; step = iterator.next()) {
    spend(1)
    items.push(step.value)
  }
  return items
}

/** Python's `len`; undefined where there is none. */
export function lengthOf(value: Value): number | undefined {
  if (typeof value === "string") return codePointLength(value)
  if (value instanceof Markup) return codePointLength(value.text)
  if (Array.isArray(value) || value instanceof Range) return value.length
  if (value instanceof Tuple) return value.items.length
  if (value instanceof Dict) return value.size
  if (value instanceof View) return value.of.size
  if (value instanceof Undefined) return 0
  const length = value instanceof Thing ? value.attribute("length") : undefined
  return value instanceof Thing && value.type === "LoopContext" ? Number(length) : undefined
}

export const length = (value: Value): number =>
  lengthOf(value) ?? refuse(`object of type '${typeName(value)}' has no len()`)

/** A sequence from its end, as Python's `reversed`; undefined where Python refuses. */
export function reversedItems(value: Value): Value[] | undefined {
  if (value instanceof Generator || value instanceof Thing) return undefined
  return iteratorOf(value) === undefined ? undefined : listOf(value).reverse()
}

/** The item of that number; undefined where Python raises an IndexError or TypeError. */
export function itemAt(value: Value, index: Value): Value | undefined {
  if (!isInteger(index)) return undefined
  const at = Number(index)
  if (typeof value === "string") return characterAt(value, at)
  if (value instanceof Range) {
    const place = at < 0 ? at + value.length : at
    return place >= 0 && place < value.length ? value.at(place) : undefined
  }
  const items = Array.isArray(value) ? value : value instanceof Tuple ? value.items : undefined
  return items?.at(at)
}

function characterAt(value: string, at: number): string | undefined {
  return isPlain(value) ? value.at(at) : codePoints(value).at(at)
}

export type SliceBounds = readonly [Value, Value, Value]

/** Part of a sequence; undefined where Python raises a TypeError. */
export function sliceOf(value: Value, bounds: SliceBounds): Value | undefined {
  if (!bounds.every((bound) => bound === null || isInteger(bound))) return undefined
  const [start, stop, step] = bounds.map((bound) => (bound === null ? null : Number(bound)))
  if (step === 0) return refuse("slice step cannot be zero")
  const by = step ?? 1
  if (typeof value === "string") return slicedText(value, start!, stop!, by)
  if (Array.isArray(value)) return picked(value, placesOf(value.length, start!, stop!, by))
  if (value instanceof Tuple) {
    return new Tuple(picked(value.items, placesOf(value.items.length, start!, stop!, by)))
  }
  if (value instanceof Range) {
    const { start: from, stop: to } = clamped(value.length, start!, stop!, by)
    return new Range(value.at(from), value.at(to), value.step * by)
  }
  return undefined
}

function slicedText(value: string, start: number | null, stop: number | null, by: number): string {
  if (by === 1 && isPlain(value)) return value.slice(start ?? 0, stop ?? value.length)
  spendText(value.length)
  const points = codePoints(value)
  return picked(points, placesOf(points.length, start, stop, by)).join("")
}

const picked = <T>(items: readonly T[], places: readonly number[]): T[] => {
  spend(places.length)
  return places.map((place) => items[place]!)
}

/** Python's `slice.indices`. */
function clamped(length: number, start: number | null, stop: number | null, by: number) {
  const [lowest, highest] = by > 0 ? [0, length] : [-1, length - 1]
  const place = (at: number) => Math.min(Math.max(at < 0 ? at + length : at, lowest), highest)
  return {
    start: start === null ? (by > 0 ? lowest : highest) : place(start),
    stop: stop === null ? (by > 0 ? highest : lowest) : place(stop),
  }
}

function placesOf(length: number, start: number | null, stop: number | null, by: number) {
  const ends = clamped(length, start, stop, by)
  const places: number[] = []
  for (let at = ends.start; by > 0 ? at < ends.stop : at > ends.stop; at += by) places.push(at)
  return places
}
