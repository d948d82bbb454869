import { arithmetic, isNumber } from "./numbers.ts"
import { compare, contains, equal } from "./operators.ts"
import { text } from "./printing.ts"
import { iteratorOf, lengthOf } from "./sequences.ts"
import { applied, type Signature, signature } from "./signatures.ts"
import type { CompareOp } from "./syntax.ts"
import { isLower, isUpper } from "./text-methods.ts"
import {
  Callable,
  Dict,
  Float,
  Generator,
  isInteger,
  isTrue,
  Markup,
  type Named,
  refuse,
  Thing,
  Undefined,
  type Value,
  View,
} from "./values.ts"

const asking = (holds: (value: Value) => boolean): Signature<Value> => signature("", holds)
const comparing = (op: CompareOp): Signature<Value> =>
  signature("/other", (value, [other]) => compare(op, value, other!))
const remainder = (value: Value, by: Value, rest: number) =>
  equal(
    typeof value === "string" ? refuse("not all arguments converted") : arithmetic("%", value, by),
    rest,
  )

const EQUAL = comparing("==")
const UNEQUAL = comparing("!=")
const LESS = comparing("<")
const AT_MOST = comparing("<=")
const MORE = comparing(">")
const AT_LEAST = comparing(">=")

/** Python's `is` is told where it cannot depend on how Python keeps its values. */
function isSame(value: Value, other: Value): boolean {
  const isPlain = (one: Value) => one === null || typeof one === "boolean"
  if (isPlain(value) || isPlain(other)) return value === other
  if (typeof value !== "object" || typeof other !== "object") {
    return refuse("the test 'sameas' of texts and numbers is not supported here")
  }
  return value === other
}

const hasItems = (value: Value) =>
  lengthOf(value) !== undefined && !(value instanceof View) && !(value instanceof Thing)

const TESTS: Readonly<Record<string, Signature<Value>>> = {
  ...{ "==": EQUAL, eq: EQUAL, equalto: EQUAL, "!=": UNEQUAL, ne: UNEQUAL },
  ...{ "<": LESS, lt: LESS, lessthan: LESS, "<=": AT_MOST, le: AT_MOST },
  ...{ ">": MORE, gt: MORE, greaterthan: MORE, ">=": AT_LEAST, ge: AT_LEAST },
  boolean: asking((value) => typeof value === "boolean"),
  callable: asking(
    (value) =>
      value instanceof Callable ||
      value instanceof Undefined ||
      (value instanceof Thing && ["LoopContext", "Joiner"].includes(value.type)),
  ),
  defined: asking((value) => !(value instanceof Undefined)),
  divisibleby: signature("num", (value, [by]) => remainder(value, by!, 0)),
  escaped: asking((value) => value instanceof Markup),
  even: asking((value) => remainder(value, 2, 0)),
  false: asking((value) => value === false),
  float: asking((value) => value instanceof Float),
  in: signature("seq", (value, [where]) => contains(where!, value)),
  integer: asking((value) => isInteger(value) && typeof value !== "boolean"),
  iterable: asking((value) => value instanceof Generator || iteratorOf(value) !== undefined),
  lower: asking((value) => isLower(text(value))),
  mapping: asking((value) => value instanceof Dict),
  none: asking((value) => value === null),
  number: asking(isNumber),
  odd: asking((value) => remainder(value, 2, 1)),
  sameas: signature("other", (value, [other]) => isSame(value, other!)),
  sequence: asking(hasItems),
  string: asking((value) => typeof value === "string" || value instanceof Markup),
  test: asking((value) => typeof value === "string" && isTest(value)),
  true: asking((value) => value === true),
  undefined: asking((value) => value instanceof Undefined),
  upper: asking((value) => isUpper(text(value))),
}

/** Whether Jinja2 has a test of that name. */
export const isTest = (name: string): boolean => Object.hasOwn(TESTS, name) || name === "filter"

/** @throws InputError when it is not known, or as Jinja2 raises */
export function callTest(
  name: string,
  value: Value,
  args: readonly Value[],
  named: Named,
): boolean {
  if (name === "filter") return refuse("the test 'filter' is supported as `x is filter` alone")
  if (!isTest(name)) return refuse(`No test named '${name}' found.`)
  return isTrue(applied(name, TESTS[name]!, value, args, named))
}
