import { InputError } from "../../errors.ts"
import { attribute, call, item, slice, textKeys } from "./attributes.ts"
import { joinedText } from "./budget.ts"
import { signed } from "./numbers.ts"
import { binary, compare } from "./operators.ts"
import { text } from "./printing.ts"
import type { Scope } from "./scope.ts"
import { callFilter, isFilter } from "./sequence-filters.ts"
import { listOf } from "./sequences.ts"
import type { Arguments, TemplateExpression } from "./syntax.ts"
import { callTest, isTest } from "./tests.ts"
import { Dict, Float, isTrue, type Named, refuse, Tuple, Undefined, type Value } from "./values.ts"

/** A compiled expression. */
export type Evaluate = (scope: Scope) => Value

/** What is known of the place that is being compiled. */
export interface Place {
  /** In a branch: an unknown filter or test is an error only when it is reached, as in Jinja2. */
  readonly branch: boolean
  /** `break` and `continue` have a loop. */
  readonly loop: boolean
}

type Kind<K> = Extract<TemplateExpression, { readonly kind: K }>

export function compileExpression(node: TemplateExpression, place: Place): Evaluate {
  const of = (inner: TemplateExpression) => compileExpression(inner, place)
  switch (node.kind) {
    case "constant": {
      const { value } = node
      return () => value
    }
    case "float": {
      const value = new Float(node.value)
      return () => value
    }
    case "name": {
      const { name } = node
      return (scope) => scope.get(name)
    }
    case "attribute": {
      const [object, name] = [of(node.of), node.name]
      return (scope) => attribute(object(scope), name)
    }
    case "item": {
      const [object, index] = [of(node.of), of(node.index)]
      return (scope) => item(object(scope), index(scope))
    }
    case "slice":
      return compileSlice(node, place)
    case "call":
      return compileCall(node, place)
    case "filter":
      return compileFilter(node, node.input === null ? refuseInput : of(node.input), place)
    case "test":
      return compileTest(node, place)
    case "sign": {
      const [op, inner] = [node.op, of(node.of)]
      return (scope) => signed(op, inner(scope))
    }
    case "not": {
      const inner = of(node.of)
      return (scope) => !isTrue(inner(scope))
    }
    case "and":
    case "or":
      return compileLogic(node.kind, of(node.left), of(node.right))
    case "binary": {
      const [op, left, right] = [node.op, of(node.left), of(node.right)]
      return (scope) => binary(op, left(scope), right(scope))
    }
    case "concat": {
      const parts = node.parts.map(of)
      return (scope) => parts.reduce((made, part) => joinedText(made, text(part(scope))), "")
    }
    case "compare":
      return compileCompare(node, place)
    case "conditional":
      return compileConditional(node, { ...place, branch: true })
    case "list": {
      const items = node.items.map(of)
      return (scope) => items.map((each) => each(scope))
    }
    case "tuple": {
      const items = node.items.map(of)
      return (scope) => new Tuple(items.map((each) => each(scope)))
    }
    case "dict": {
      const pairs = node.pairs.map(([key, value]) => [of(key), of(value)] as const)
      return (scope) => new Dict(pairs.map(([key, value]) => [key(scope), value(scope)]))
    }
  }
}

const refuseInput: Evaluate = () => refuse("a filter without anything to filter")

function compileLogic(kind: "and" | "or", left: Evaluate, right: Evaluate): Evaluate {
  if (kind === "and") {
    return (scope) => {
      const value = left(scope)
      return isTrue(value) ? right(scope) : value
    }
  }
  return (scope) => {
    const value = left(scope)
    return isTrue(value) ? value : right(scope)
  }
}

function compileSlice(node: Kind<"slice">, place: Place): Evaluate {
  const of = compileExpression(node.of, place)
  const [start, stop, step] = node.bounds.map((bound) =>
    bound === null ? () => null : compileExpression(bound, place),
  )
  return (scope) => slice(of(scope), [start!(scope), stop!(scope), step!(scope)])
}

function compileCompare(node: Kind<"compare">, place: Place): Evaluate {
  const first = compileExpression(node.first, place)
  const rest = node.rest.map((each) => ({
    op: each.op,
    with: compileExpression(each.with, place),
  }))
  if (rest.length === 1) {
    const [{ op, with: other }] = rest as [(typeof rest)[0]]
    return (scope) => compare(op, first(scope), other(scope))
  }
  return (scope) => {
    let left = first(scope)
    for (const { op, with: other } of rest) {
      const right = other(scope)
      if (!compare(op, left, right)) return false
      left = right
    }
    return true
  }
}

function compileConditional(node: Kind<"conditional">, place: Place): Evaluate {
  const test = compileExpression(node.test, place)
  const then = compileExpression(node.then, place)
  const nothing = new Undefined(
    `the inline if-expression on line ${node.line} evaluated to false and no else section was defined.`,
  )
  const otherwise =
    node.otherwise === null ? () => nothing : compileExpression(node.otherwise, place)
  return (scope) => (isTrue(test(scope)) ? then(scope) : otherwise(scope))
}

type Given = (scope: Scope) => { readonly args: readonly Value[]; readonly named: Named }

const NO_NAMED: Named = new Map()
const NOTHING_GIVEN: ReturnType<Given> = { args: [], named: NO_NAMED }

export function compileArguments(given: Arguments, place: Place): Given {
  const positional = given.positional.map((each) => compileExpression(each, place))
  const byName = given.named.map(
    ({ name, value }) => [name, compileExpression(value, place)] as const,
  )
  const rest = given.rest === null ? null : compileExpression(given.rest, place)
  const more = given.more === null ? null : compileExpression(given.more, place)
  if (rest === null && more === null && byName.length === 0) {
    if (positional.length === 0) return () => NOTHING_GIVEN
    return (scope) => ({ args: positional.map((each) => each(scope)), named: NO_NAMED })
  }
  return (scope) => {
    const args = positional.map((each) => each(scope))
    if (rest !== null) args.push(...listOf(rest(scope)))
    const named = new Map(byName.map(([name, value]) => [name, value(scope)]))
    const extra = more?.(scope)
    if (extra !== undefined) {
      if (!(extra instanceof Dict)) refuse("the argument after ** must be a mapping")
      for (const [name, value] of textKeys(extra as Dict)) {
        if (named.has(name)) refuse(`got multiple values for keyword argument '${name}'`)
        named.set(name, value)
      }
    }
    return { args, named }
  }
}

function compileCall(node: Kind<"call">, place: Place): Evaluate {
  const callee = compileExpression(node.callee, place)
  const given = compileArguments(node.given, place)
  return (scope) => {
    const called = callee(scope)
    const { args, named } = given(scope)
    return call(called, args, named)
  }
}

function unknown(
  kind: "filter" | "test",
  name: string,
  { line }: TemplateExpression,
  place: Place,
): void {
  if (!place.branch) throw new InputError(`line ${line}: No ${kind} named '${name}' found.`)
}

/** @param input what the filter is applied to. */
export function compileFilter(node: Kind<"filter">, input: Evaluate, place: Place): Evaluate {
  const { name } = node
  if (!isFilter(name)) unknown("filter", name, node, place)
  const given = compileArguments(node.given, place)
  return (scope) => {
    const value = input(scope)
    const { args, named } = given(scope)
    return callFilter(name, value, args, named)
  }
}

const hasArguments = ({ positional, named, rest, more }: Arguments) =>
  positional.length + named.length > 0 || rest !== null || more !== null

function compileTest(node: Kind<"test">, place: Place): Evaluate {
  const { name } = node
  if (!isTest(name)) unknown("test", name, node, place)
  const input = compileExpression(node.input, place)
  const given = compileArguments(node.given, place)
  if ((name === "defined" || name === "filter") && hasArguments(node.given)) {
    return () => refuse(`${name}() takes no arguments`)
  }
  if (name === "defined") return (scope) => !(input(scope) instanceof Undefined)
  if (name === "filter") return (scope) => isFilter(text(input(scope)))
  return (scope) => {
    const value = input(scope)
    const { args, named } = given(scope)
    return callTest(name, value, args, named)
  }
}
