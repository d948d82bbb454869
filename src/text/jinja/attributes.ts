import { equal } from "./operators.ts"
import { itemAt, listOf, type SliceBounds, sliceOf } from "./sequences.ts"
import { applied, type Signature, signature } from "./signatures.ts"
import { braceFormat } from "./text-format.ts"
import { OTHER_TEXT_ATTRIBUTES, TEXT_METHODS } from "./text-methods.ts"
import {
  Callable,
  Dict,
  type Float,
  GroupTuple,
  hashable,
  Markup,
  type Named,
  Range,
  refuse,
  Thing,
  typeName,
  Undefined,
  type Value,
  View,
} from "./values.ts"

type Methods<Self> = Readonly<Record<string, Signature<Self>>>

const items = (value: Value): readonly Value[] => listOf(value)

const SEQUENCE_METHODS: Methods<Value> = {
  count: signature("/value", (self, [wanted]) =>
    items(self).reduce<number>((sum, item) => sum + Number(equal(item, wanted!)), 0),
  ),
  index: signature("/value start? end?", (self, [wanted, start, end]) => {
    const all = items(self)
    const place = (at: Value | undefined, preset: number) => {
      const given = at === undefined ? preset : Number(at)
      return given < 0 ? Math.max(0, given + all.length) : given
    }
    const [from, to] = [place(start, 0), place(end, all.length)]
    const at = all.findIndex((item, i) => i >= from && i < to && equal(item, wanted!))
    return at < 0 ? refuse("the value is not in the list") : at
  }),
}

const LIST_METHODS: Methods<Value> = {
  ...SEQUENCE_METHODS,
  copy: signature("/", (self) => [...items(self)]),
}

const DICT_METHODS: Methods<Value> = {
  copy: signature("/", (self) => new Dict((self as Dict).pairs())),
  get: signature(
    "/key default?",
    (self, [key, preset]) => (self as Dict).get(key!) ?? preset ?? null,
  ),
  items: signature("/", (self) => new View(self as Dict, "items")),
  keys: signature("/", (self) => new View(self as Dict, "keys")),
  values: signature("/", (self) => new View(self as Dict, "values")),
}

const NUMBER_METHODS: Methods<Value> = {
  is_integer: signature("/", (self) => Number.isInteger((self as Float).value)),
}

interface Attributes {
  readonly methods: Methods<Value>
  /** What would change the value: the sandbox gives no access to it. */
  readonly unsafe: readonly string[]
  /** What Python has and is refused by name. */
  readonly other: readonly string[]
}

const NUMBER_OTHERS =
  "real imag numerator denominator conjugate bit_length bit_count to_bytes from_bytes as_integer_ratio"

const ATTRIBUTES: Readonly<Record<string, Attributes>> = {
  list: {
    methods: LIST_METHODS,
    unsafe: "append clear pop reverse insert sort extend remove".split(" "),
    other: [],
  },
  tuple: { methods: SEQUENCE_METHODS, unsafe: [], other: [] },
  range: { methods: SEQUENCE_METHODS, unsafe: [], other: [] },
  dict: {
    methods: DICT_METHODS,
    unsafe: "clear pop popitem setdefault update".split(" "),
    other: ["fromkeys"],
  },
  int: { methods: {}, unsafe: [], other: NUMBER_OTHERS.split(" ") },
  bool: { methods: {}, unsafe: [], other: NUMBER_OTHERS.split(" ") },
  float: {
    methods: NUMBER_METHODS,
    unsafe: [],
    other: ["hex", "fromhex", ...NUMBER_OTHERS.split(" ")],
  },
  dict_keys: { methods: {}, unsafe: [], other: ["mapping", "isdisjoint"] },
  dict_values: { methods: {}, unsafe: [], other: ["mapping"] },
  dict_items: { methods: {}, unsafe: [], other: ["mapping", "isdisjoint"] },
  generator: { methods: {}, unsafe: [], other: ["send", "throw", "close"] },
}

const bound = (name: string, method: Signature<never>, self: Value) =>
  new Callable("builtin_function_or_method", name, (args, named) =>
    applied(name, method as Signature<Value>, self, args, named),
  )

/** Python's own attribute of a value; undefined where it has none of that name. */
function ownAttribute(of: Value, name: string): Value | undefined {
  if (name.startsWith("_")) return underscored(of, name)
  if (typeof of === "string") return textAttribute(of, name)
  if (of instanceof Markup) return unsupported(of, name)
  if (of instanceof Thing) return of.attribute(name)
  if (of instanceof Callable) return of.attributes.get(name)
  if (of instanceof Range && (name === "start" || name === "stop" || name === "step")) {
    return of[name]
  }
  if (of instanceof GroupTuple && (name === "grouper" || name === "list")) {
    return of.items[name === "grouper" ? 0 : 1]!
  }
  const type = typeName(of)
  const attributes = Object.hasOwn(ATTRIBUTES, type) ? ATTRIBUTES[type]! : undefined
  if (attributes === undefined) return undefined
  if (Object.hasOwn(attributes.methods, name)) return bound(name, attributes.methods[name]!, of)
  if (attributes.unsafe.includes(name)) return unsafe(of, name)
  return attributes.other.includes(name) ? unsupported(of, name) : undefined
}

const unsafe = (of: Value, name: string) =>
  new Undefined(`access to attribute '${name}' of '${typeName(of)}' object is unsafe.`)

const unsupported = (of: Value, name: string): never =>
  refuse(`the attribute '${name}' of a ${typeName(of)} is not supported here`)

/**
 * The sandbox gives no access to what Python has under such names; other names are a dict's keys.
 */
function underscored(of: Value, name: string): Value | undefined {
  return name.startsWith("__") && name.endsWith("__") ? unsafe(of, name) : undefined
}

function textAttribute(of: string, name: string): Value | undefined {
  if (Object.hasOwn(TEXT_METHODS, name)) return bound(name, TEXT_METHODS[name]!, of)
  if (name === "format" || name === "format_map") {
    return new Callable("builtin_function_or_method", name, (args, named) => {
      const [mapping] = args
      if (name === "format") return braceFormat(of, args, named, ACCESS)
      if (args.length !== 1 || !(mapping instanceof Dict))
        return refuse("format_map() needs a dict")
      return braceFormat(of, [], textKeys(mapping), ACCESS)
    })
  }
  return OTHER_TEXT_ATTRIBUTES.has(name) ? unsupported(of, name) : undefined
}

/** A dict as named arguments. @throws InputError when a key is no text */
export function textKeys(dict: Dict): Named {
  const named = new Map<string, Value>()
  for (const [key, value] of dict.pairs()) {
    named.set(typeof key === "string" ? key : refuse("keywords must be strings"), value)
  }
  return named
}

const missing = (of: Value, name: Value): Undefined =>
  new Undefined(() =>
    typeof name === "string"
      ? `'${typeName(of)} object' has no attribute '${name}'`
      : `${typeName(of)} object has no element ${typeof name === "number" ? name : "of that key"}`,
  )

/** `of.name`: Python's attribute first, then the item of that key. */
export function attribute(of: Value, name: string): Value {
  if (of instanceof Undefined) return refuse(of.why)
  const own = ownAttribute(of, name)
  if (own !== undefined) return own
  return (of instanceof Dict ? of.get(name) : undefined) ?? missing(of, name)
}

/** `of[index]`: the item first, then Python's attribute where the index is a text. */
export function item(of: Value, index: Value): Value {
  if (of instanceof Undefined) return refuse(of.why)
  if (of instanceof Markup) return refuse("parts of a text marked as safe are not supported here")
  const found =
    of instanceof Dict ? (hashable(index) ? of.get(index) : undefined) : itemAt(of, index)
  if (found !== undefined) return found
  const own = typeof index === "string" ? ownAttribute(of, index) : undefined
  return own ?? missing(of, index)
}

/**
 * `of[start:stop:step]`. @throws InputError for what is no sequence, and bounds that are no
 * integers
 */
export function slice(of: Value, bounds: SliceBounds): Value {
  if (of instanceof Undefined) return refuse(of.why)
  if (of instanceof Markup) return refuse("parts of a text marked as safe are not supported here")
  return sliceOf(of, bounds) ?? refuse(`a ${typeName(of)} cannot be cut by these bounds`)
}

const ACCESS = { attribute, item }

/** `of(...)`. @throws InputError when it cannot be called */
export function call(of: Value, args: readonly Value[], named: Named): Value {
  if (of instanceof Callable || of instanceof Thing) return of.call(args, named)
  if (of instanceof Undefined) return refuse(of.why)
  return refuse(`'${typeName(of)}' object is not callable`)
}
