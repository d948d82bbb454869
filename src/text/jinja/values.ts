import { InputError } from "../../errors.ts"

/**
 * Python's values as a template sees them. A JavaScript number is Python's `int`, a bigint one that
 * is too large for it, and `Float` is Python's `float`, so that 2 and 2.0 stay apart; an array is a
 * `list`; null is `None`.
 */
export type Value =
  | string
  | number
  | bigint
  | boolean
  | null
  | readonly Value[]
  | Float
  | Markup
  | Undefined
  | Tuple
  | Dict
  | Range
  | View
  | Generator
  | Callable
  | Thing

export class Float {
  readonly value: number
  constructor(value: number) {
    this.value = value
  }
}

/**
 * A text marked as safe HTML (markupsafe). It prints as any text, but what is added to it is
 * escaped. Nothing else is done with one here.
 */
export class Markup {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

/** What is not there. It prints as nothing; most other uses of it are errors that say `why`. */
export class Undefined {
  private readonly reason: string | (() => string)
  constructor(reason: string | (() => string)) {
    this.reason = reason
  }
  get why(): string {
    return typeof this.reason === "string" ? this.reason : this.reason()
  }
}

export class Tuple {
  readonly items: readonly Value[]
  constructor(items: readonly Value[]) {
    this.items = items
  }
}

/** A group of the `groupby` filter: a tuple whose parts have names. */
export class GroupTuple extends Tuple {}

export class Dict {
  private readonly entries = new Map<unknown, readonly [Value, Value]>()

  constructor(pairs: Iterable<readonly [Value, Value]> = []) {
    for (const [key, value] of pairs) this.set(key, value)
  }
  get size(): number {
    return this.entries.size
  }
  set(key: Value, value: Value): void {
    const id = keyOf(key)
    this.entries.set(id, [this.entries.get(id)?.[0] ?? key, value])
  }
  get(key: Value): Value | undefined {
    return this.entries.get(keyOf(key))?.[1]
  }
  pairs(): Iterable<readonly [Value, Value]> {
    return this.entries.values()
  }
  *keys(): Iterable<Value> {
    for (const [key] of this.entries.values()) yield key
  }
  *values(): Iterable<Value> {
    for (const [, value] of this.entries.values()) yield value
  }
}

export class Range {
  readonly start: number
  readonly stop: number
  readonly step: number
  readonly length: number
  constructor(start: number, stop: number, step: number) {
    this.start = start
    this.stop = stop
    this.step = step
    this.length = Math.max(0, Math.ceil((stop - start) / step))
  }
  at(index: number): number {
    return this.start + index * this.step
  }
}

/** `dict.keys()`, `.values()` and `.items()`. */
export class View {
  readonly of: Dict
  readonly kind: "keys" | "values" | "items"
  constructor(of: Dict, kind: View["kind"]) {
    this.of = of
    this.kind = kind
  }
}

/** What is iterated once, such as what the `map` and `select` filters make. */
export class Generator {
  readonly type: string
  readonly iterator: Iterator<Value>
  constructor(iterable: Iterable<Value>, type = "generator") {
    this.iterator = iterable[Symbol.iterator]()
    this.type = type
  }
}

/** Named arguments of a call, in their order. */
export type Named = ReadonlyMap<string, Value>

export class Callable {
  readonly type: string
  readonly name: string
  readonly call: (args: readonly Value[], named: Named) => Value
  /** What a macro tells about itself. */
  readonly attributes: ReadonlyMap<string, Value>
  constructor(
    type: string,
    name: string,
    call: Callable["call"],
    attributes: Callable["attributes"] = new Map(),
  ) {
    this.type = type
    this.name = name
    this.call = call
    this.attributes = attributes
  }
}

/** An object with attributes: a namespace, a loop, a cycler. */
export abstract class Thing {
  abstract readonly type: string
  abstract attribute(name: string): Value | undefined
  /** How it prints; undefined where Python would print an address. */
  print(_repr: (value: Value) => string): string | undefined {
    return undefined
  }
  /** What a loop over it gives; undefined where Python refuses. */
  iterator(): Iterator<Value> | undefined {
    return undefined
  }
  call(_args: readonly Value[], _named: Named): Value {
    return refuse(`'${this.type}' object is not callable`)
  }
}

/** @throws InputError always: what Jinja2 raises, in its words */
export function refuse(why: string): never {
  throw new InputError(why)
}

/** Python's name of a value's type. */
export function typeName(value: Value): string {
  if (value === null) return "NoneType"
  if (typeof value === "string") return "str"
  if (typeof value === "boolean") return "bool"
  if (typeof value === "number" || typeof value === "bigint") return "int"
  if (Array.isArray(value)) return "list"
  if (value instanceof Float) return "float"
  if (value instanceof Markup) return "Markup"
  if (value instanceof Undefined) return "Undefined"
  if (value instanceof Tuple) return "tuple"
  if (value instanceof Dict) return "dict"
  if (value instanceof Range) return "range"
  if (value instanceof View) return `dict_${value.kind}`
  return (value as Generator | Callable | Thing).type
}

export const isInteger = (value: Value): value is number | bigint | boolean =>
  typeof value === "number" || typeof value === "bigint" || typeof value === "boolean"

/** The same for keys that Python holds to be equal, and for no others. */
function keyOf(key: Value): unknown {
  if (typeof key === "boolean") return Number(key)
  if (key instanceof Float) {
    const { value } = key
    if (!Number.isInteger(value)) return Symbol.for(`float ${value}`)
    return Number.isSafeInteger(value) ? value : BigInt(value)
  }
  if (key instanceof Tuple) return Symbol.for(`tuple ${key.items.map(keyText).join()}`)
  if (key instanceof Undefined) return Undefined
  if (key instanceof Markup) return key.text
  if (Array.isArray(key) || key instanceof Dict) refuse(`unhashable type: '${typeName(key)}'`)
  return key
}

function keyText(key: Value): string {
  const id = keyOf(key)
  return typeof id === "string" ? JSON.stringify(id) : `${typeof id} ${String(id)}`
}

export const hashable = (value: Value): boolean =>
  value instanceof Tuple
    ? value.items.every(hashable)
    : !(Array.isArray(value) || value instanceof Dict)

/** Python's truth. */
export function isTrue(value: Value): boolean {
  if (typeof value === "string" || Array.isArray(value)) return value.length > 0
  if (typeof value === "boolean") return value
  if (value === null || value instanceof Undefined) return false
  if (typeof value === "number") return value !== 0
  if (typeof value === "bigint") return value !== 0n
  if (value instanceof Dict) return value.size > 0
  if (value instanceof Tuple) return value.items.length > 0
  if (value instanceof Float) return value.value !== 0
  if (value instanceof Markup) return value.text !== ""
  if (value instanceof Range) return value.length > 0
  if (value instanceof View) return value.of.size > 0
  return true
}
