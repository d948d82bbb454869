import { nested, spend } from "./budget.ts"
import { repr, text } from "./printing.ts"
import { iteratorOf, listOf } from "./sequences.ts"
import { strftime } from "./strftime.ts"
import {
  Callable,
  Dict,
  isInteger,
  type Named,
  Range,
  refuse,
  Thing,
  typeName,
  Undefined,
  type Value,
} from "./values.ts"

/** The sandbox's bound on `range`. */
const MAX_RANGE = 100_000

export class Namespace extends Thing {
  readonly type = "Namespace"
  private readonly attributes = new Map<string, Value>()

  attribute(name: string): Value | undefined {
    return this.attributes.get(name)
  }
  set(name: string, value: Value): void {
    if (name.startsWith("_")) {
      refuse(`a namespace cannot store the underscore-prefixed attribute '${name}'`)
    }
    this.attributes.set(name, value)
  }
  override print(): string {
    const pairs = Array.from(
      this.attributes,
      ([name, value]) => `${repr(name)}: ${nested(() => repr(value))}`,
    )
    return `<Namespace {${pairs.join(", ")}}>`
  }
}

class Cycler extends Thing {
  readonly type = "Cycler"
  private readonly items: readonly Value[]
  private at = 0
  constructor(items: readonly Value[]) {
    super()
    this.items = items
  }
  attribute(name: string): Value | undefined {
    switch (name) {
      case "current":
        return this.items[this.at]!
      case "pos":
        return this.at
      case "next":
        return new Callable("method", name, () => {
          const value = this.items[this.at]!
          this.at = (this.at + 1) % this.items.length
          return value
        })
      case "reset":
        return new Callable("method", name, () => {
          this.at = 0
          return null
        })
      default:
        return undefined
    }
  }
}

class Joiner extends Thing {
  readonly type = "Joiner"
  private readonly separator: Value
  private used = false
  constructor(separator: Value) {
    super()
    this.separator = separator
  }
  attribute(name: string): Value | undefined {
    return name === "sep" ? this.separator : name === "used" ? this.used : undefined
  }
  override call(): Value {
    const given = this.used ? this.separator : ""
    this.used = true
    return given
  }
}

/** Python's `dict(mapping or pairs, **named)`. */
function dictOf(args: readonly Value[], named: Named): Dict {
  if (args.length > 1) refuse(`dict expected at most 1 argument, got ${args.length}`)
  const [from] = args
  const dict = new Dict()
  if (from instanceof Dict) for (const [key, value] of from.pairs()) dict.set(key, value)
  else if (from instanceof Undefined) refuse(from.why)
  else if (from !== undefined) {
    for (const pair of listOf(from)) {
      const both = iteratorOf(pair) === undefined ? [] : listOf(pair)
      if (both.length !== 2) refuse("dict() needs pairs of a key and a value")
      dict.set(both[0]!, both[1]!)
    }
  }
  for (const [name, value] of named) dict.set(name, value)
  spend(dict.size)
  return dict
}

function rangeOf(args: readonly Value[]): Range {
  if (args.length < 1 || args.length > 3)
    refuse(`range expected 1 to 3 arguments, got ${args.length}`)
  const numbers = args.map((arg) =>
    isInteger(arg)
      ? Number(arg)
      : refuse(
          arg instanceof Undefined
            ? arg.why
            : `'${typeName(arg)}' object cannot be interpreted as an integer`,
        ),
  )
  const [start, stop, step] =
    numbers.length === 1 ? [0, numbers[0]!, 1] : [numbers[0]!, numbers[1]!, numbers[2] ?? 1]
  if (step === 0) refuse("range() arg 3 must not be zero")
  const range = new Range(start, stop, step)
  if (range.length > MAX_RANGE) {
    refuse(`Range too big. The sandbox blocks ranges larger than MAX_RANGE (${MAX_RANGE}).`)
  }
  return range
}

const named = (name: string, call: Callable["call"]): readonly [string, Callable] => [
  name,
  new Callable("function", name, call),
]

/** What Transformers gives to every template. @param now what `strftime_now` tells */
export function globals(now: () => Date): ReadonlyMap<string, Value> {
  return new Map<string, Value>([
    named("range", (args, more) =>
      more.size > 0 ? refuse("range() takes no keyword arguments") : rangeOf(args),
    ),
    named("dict", dictOf),
    named("namespace", (args, more) => {
      const namespace = new Namespace()
      for (const [name, value] of dictOf(args, more).pairs()) namespace.set(text(name), value)
      return namespace
    }),
    named("cycler", (args) =>
      args.length > 0 ? new Cycler(args) : refuse("at least one item has to be provided"),
    ),
    named("joiner", (args, more) => new Joiner(args[0] ?? more.get("sep") ?? ", ")),
    named("lipsum", () => refuse("lipsum() writes another text each time")),
    named("raise_exception", (args, more) => refuse(text(args[0] ?? more.get("message") ?? ""))),
    named("strftime_now", (args, more) => {
      const format = args[0] ?? more.get("format") ?? null
      if (typeof format !== "string") refuse("strftime_now() needs a format")
      return strftime(now(), format as string)
    }),
  ])
}

/** Items given to several names. @throws InputError when they are not as many */
export function unpacked(value: Value, count: number): Value[] {
  const items: Value[] = []
  const iterator =
    iteratorOf(value) ?? refuse(`cannot unpack non-iterable ${typeName(value)} object`)
  for (let step = iterator.next(); !step.done; step = iterator.next()) {
    items.push(step.value)
    if (items.length > count) refuse(`too many values to unpack (expected ${count})`)
  }
  if (items.length < count) {
    refuse(`not enough values to unpack (expected ${count}, got ${items.length})`)
  }
  return items
}
