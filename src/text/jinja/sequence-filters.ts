import { attributePath, FILTERS, type Filter, formatted } from "./filters.ts"
import { binary, compare, memberOf, sortedBy } from "./operators.ts"
import { iterate, listOf } from "./sequences.ts"
import { applied, signature, wholeArgument } from "./signatures.ts"
import { callTest } from "./tests.ts"
import {
  Dict,
  Generator,
  GroupTuple,
  isTrue,
  Markup,
  type Named,
  refuse,
  Tuple,
  Undefined,
  type Value,
} from "./values.ts"

type Path = Value | undefined

const folded = (value: Value): Value => (typeof value === "string" ? value.toLowerCase() : value)

/** What things are ordered by: a part of them, letter case left out unless it counts. */
function orderKey(path: Path, caseSensitive: Path): (value: Value) => Value {
  const at = attributePath(path)
  return isTrue(caseSensitive ?? false) ? (value) => at(value) : (value) => folded(at(value))
}

/** Several parts, with commas between them. */
function orderKeys(path: Path, caseSensitive: Path): (value: Value) => Value {
  const paths = typeof path === "string" ? path.split(",") : [path]
  const keys = paths.map((one) => orderKey(one, caseSensitive))
  return (value) => keys.map((key) => key(value))
}

/** Python's `reverse=` takes a truth or a whole number, and nothing else. */
const backwards = (value: Path): boolean => wholeArgument(value, 0, "sort") !== 0

function* uniques(value: Value, key: (value: Value) => Value): Iterable<Value> {
  const seen = new Dict()
  const iterator = iterate(value)
  for (let step = iterator.next(); !step.done; step = iterator.next()) {
    const id = memberOf(key(step.value))
    if (seen.get(id) === undefined) {
      seen.set(id, true)
      yield step.value
    }
  }
}

function extreme(value: Value, key: (value: Value) => Value, op: "<" | ">"): Value {
  const items = listOf(value)
  if (items.length === 0) return new Undefined("No aggregated item, sequence was empty.")
  return items.reduce((best, item) => (compare(op, key(item), key(best)) ? item : best))
}

function groups(value: Value, path: Path, preset: Path, caseSensitive: Path): Value {
  const at = attributePath(path)
  const key = (item: Value) => at(item, preset)
  const order = isTrue(caseSensitive ?? false) ? key : (item: Value) => folded(key(item))
  const found: { id: Value; items: Value[] }[] = []
  for (const item of sortedBy(listOf(value), order, false)) {
    const id = order(item)
    const last = found.at(-1)
    if (last !== undefined && compare("==", last.id, id)) last.items.push(item)
    else found.push({ id, items: [item] })
  }
  return found.map(({ items }) => new GroupTuple([key(items[0]!), items]))
}

const extremeFilter = (op: "<" | ">"): Filter =>
  signature("case_sensitive? attribute?", (value, [caseSensitive, path]) =>
    extreme(value, orderKey(path, caseSensitive), op),
  )

const ORDERING: Readonly<Record<string, Filter>> = {
  dictsort: signature("case_sensitive? by? reverse?", (value, [caseSensitive, by, reverse]) => {
    const part = by ?? "key"
    if (part !== "key" && part !== "value") {
      return refuse('You can only sort by either "key" or "value"')
    }
    if (value instanceof Undefined) return refuse(value.why)
    if (!(value instanceof Dict)) return refuse("dictsort needs a dict")
    const pairs = Array.from(value.pairs(), (pair) => new Tuple(pair))
    const key = orderKey(part === "key" ? 0 : 1, caseSensitive)
    return sortedBy(pairs, key, backwards(reverse))
  }),
  groupby: signature("attribute default? case_sensitive?", (value, [path, preset, caseSensitive]) =>
    groups(value, path, preset, caseSensitive),
  ),
  max: extremeFilter(">"),
  min: extremeFilter("<"),
  sort: signature("reverse? case_sensitive? attribute?", (value, [reverse, caseSensitive, path]) =>
    sortedBy(listOf(value), orderKeys(path, caseSensitive), backwards(reverse)),
  ),
  sum: signature("attribute? start?", (value, [path, start]) => {
    const at = attributePath(path)
    return listOf(value).reduce((sum: Value, item) => binary("+", sum, at(item)), start ?? 0)
  }),
  unique: signature(
    "case_sensitive? attribute?",
    (value, [caseSensitive, path]) => new Generator(uniques(value, orderKey(path, caseSensitive))),
  ),
}

/** Filters whose arguments are another filter or test, with its own. */
type Taking = (value: Value, args: readonly Value[], named: Named) => Value

function* mapped(value: Value, change: (value: Value) => Value): Iterable<Value> {
  const iterator = iterate(value)
  for (let step = iterator.next(); !step.done; step = iterator.next()) yield change(step.value)
}

function* selected(value: Value, holds: (value: Value) => boolean): Iterable<Value> {
  const iterator = iterate(value)
  for (let step = iterator.next(); !step.done; step = iterator.next()) {
    if (holds(step.value)) yield step.value
  }
}

/** Nothing is asked of an empty value, not even whether it can be iterated. */
function* lazily(value: Value, make: () => Iterable<Value>): Iterable<Value> {
  if (isTrue(value)) yield* make()
}

const map: Taking = (value, args, named) =>
  new Generator(
    lazily(value, () => {
      if (args.length === 0 && named.has("attribute")) {
        const others = [...named.keys()].filter(
          (name) => name !== "attribute" && name !== "default",
        )
        if (others.length > 0) refuse(`Unexpected keyword argument '${others[0]}'`)
        const at = attributePath(named.get("attribute"))
        return mapped(value, (item) => at(item, named.get("default")))
      }
      const [name, ...rest] = args
      if (name === undefined) return refuse("map requires a filter argument")
      return mapped(value, (item) => callFilter(String(name), item, rest, named))
    }),
  )

const selecting =
  (wanted: boolean, byAttribute: boolean): Taking =>
  (value, args, named) =>
    new Generator(
      lazily(value, () => {
        const [path, ...others] = byAttribute ? args : [undefined, ...args]
        if (byAttribute && args.length === 0) refuse("Missing parameter for attribute name")
        const at = attributePath(path)
        const [test, ...rest] = others
        const holds = (item: Value) =>
          test === undefined
            ? isTrue(at(item))
            : callTest(String(test), at(item), rest as Value[], named)
        return selected(value, (item) => holds(item) === wanted)
      }),
    )

const TAKING: Readonly<Record<string, Taking>> = {
  format: formatted,
  map,
  reject: selecting(false, false),
  rejectattr: selecting(false, true),
  select: selecting(true, false),
  selectattr: selecting(true, true),
}

const REFUSED: ReadonlySet<string> = new Set([
  ..."filesizeformat pprint random striptags urlencode urlize wordwrap xmlattr".split(" "),
])

/** They give back what is marked as safe, or do not ask. */
const FOR_MARKUP: ReadonlySet<string> = new Set(
  "e escape forceescape safe string d default length count".split(" "),
)

/** Whether Jinja2 has a filter of that name. */
export const isFilter = (name: string): boolean =>
  [FILTERS, ORDERING, TAKING].some((table) => Object.hasOwn(table, name)) || REFUSED.has(name)

/** @throws InputError when it is not known, or as Jinja2 raises */
export function callFilter(
  name: string,
  value: Value,
  args: readonly Value[],
  named: Named,
): Value {
  if (value instanceof Markup && !FOR_MARKUP.has(name)) {
    return refuse(`the filter '${name}' on a text marked as safe is not supported here`)
  }
  if (Object.hasOwn(TAKING, name)) return TAKING[name]!(value, args, named)
  for (const table of [FILTERS, ORDERING]) {
    if (Object.hasOwn(table, name)) return applied(name, table[name]!, value, args, named)
  }
  return refuse(
    REFUSED.has(name)
      ? `the filter '${name}' is not supported here`
      : `No filter named '${name}' found.`,
  )
}
