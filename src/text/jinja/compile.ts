import { InputError } from "../../errors.ts"
import { call } from "./attributes.ts"
import { nested, spend } from "./budget.ts"
import {
  compileArguments,
  compileExpression,
  compileFilter,
  type Evaluate,
  type Place,
} from "./compile-expression.ts"
import { Namespace, unpacked } from "./globals.ts"
import { Loop, type Recurse } from "./loop.ts"
import { text } from "./printing.ts"
import { Output, Scope } from "./scope.ts"
import { iterate } from "./sequences.ts"
import type { Body, MacroParameter, Statement, Target, TemplateExpression } from "./syntax.ts"
import {
  Callable,
  Dict,
  Generator,
  isTrue,
  type Named,
  refuse,
  Tuple,
  Undefined,
  type Value,
} from "./values.ts"

/** How a statement ended: on to the next one, or out of the loop's body. */
type Flow = "next" | "break" | "continue"

export type Execute = (scope: Scope, output: Output) => Flow

type Kind<K> = Extract<Statement, { readonly kind: K }>

const inFunction: Place = { branch: false, loop: false }
const plainly = (place: Place): Place => ({ ...place, branch: false })

/** Statements as one function. @throws InputError naming the line of what Jinja2 would refuse */
export function compileBody(body: Body, place: Place = inFunction): Execute {
  const steps = body.map((statement) => ({
    line: statement.line,
    run: compileStatement(statement, place),
  }))
  return (scope, output) => {
    for (const { line, run } of steps) {
      spend(1)
      try {
        const flow = run(scope, output)
        if (flow !== "next") return flow
      } catch (error) {
        throw located(error, line)
      }
    }
    return "next"
  }
}

/** An error with the line it came from; the innermost line stays. */
function located(error: unknown, line: number): unknown {
  if (!(error instanceof InputError) || /^line \d+: /.test(error.message)) return error
  return new InputError(`line ${line}: ${error.message}`)
}

function compileStatement(node: Statement, place: Place): Execute {
  switch (node.kind) {
    case "text": {
      const words = node.text
      return (scope, output) => {
        output.write(words, scope)
        return "next"
      }
    }
    case "output":
      return compileOutput(node.value, place)
    case "if":
      return compileIf(node, { ...place, branch: true })
    case "for":
      return compileFor(node, place)
    case "set": {
      const [assign, value] = [compileTarget(node.target), compileExpression(node.value, place)]
      return (scope) => {
        assign(scope, value(scope))
        return "next"
      }
    }
    case "set block":
      return compileSetBlock(node, plainly(place))
    case "macro": {
      const make = compileMacro(node.name, node.parameters, node.body)
      return (scope) => {
        scope.set(node.name, make(scope))
        return "next"
      }
    }
    case "call block":
      return compileCallBlock(node, place)
    case "filter block":
      return compileFilterBlock(node, plainly(place))
    case "with":
      return compileWith(node, place)
    case "generation":
      return compileGeneration(node)
    case "break":
    case "continue": {
      if (!place.loop) throw new InputError(`line ${node.line}: '${node.kind}' outside loop`)
      return () => node.kind
    }
  }
}

function compileOutput(node: TemplateExpression, place: Place): Execute {
  const value = compileExpression(node, place)
  return (scope, output) => {
    output.write(text(value(scope)), scope)
    return "next"
  }
}

function compileIf(node: Kind<"if">, place: Place): Execute {
  const branches = node.branches.map(({ test, body }) => ({
    test: compileExpression(test, place),
    body: compileBody(body, place),
  }))
  const otherwise = compileBody(node.otherwise, place)
  return (scope, output) => {
    for (const { test, body } of branches) if (isTrue(test(scope))) return body(scope, output)
    return otherwise(scope, output)
  }
}

type Assign = (scope: Scope, value: Value) => void

function compileTarget(target: Target): Assign {
  switch (target.kind) {
    case "name":
      return (scope, value) => scope.set(target.name, value)
    case "namespace":
      return (scope, value) => {
        const namespace = scope.get(target.name)
        if (!(namespace instanceof Namespace)) {
          refuse("cannot assign attribute on non-namespace object")
        }
        ;(namespace as Namespace).set(target.attribute, value)
      }
    case "tuple": {
      const items = target.items.map(compileTarget)
      return (scope, value) => {
        const values = unpacked(value, items.length)
        for (const [i, assign] of items.entries()) assign(scope, values[i]!)
      }
    }
  }
}

function compileFor(node: Kind<"for">, outside: Place): Execute {
  const place = { branch: false, loop: true }
  const over = compileExpression(node.over, outside)
  const assign = compileTarget(node.target)
  const test = node.test === null ? null : compileExpression(node.test, plainly(place))
  const body = compileBody(node.body, place)
  const otherwise = compileBody(node.otherwise, plainly(outside))

  const run = (items: Value, depth: number, scope: Scope, output: Output): Flow => {
    const kept = test === null ? items : new Generator(matching(items, scope))
    const recurse: Recurse = (inner, deeper) => {
      const captured = new Output()
      nested(() => run(inner, deeper, scope, captured))
      return captured.text
    }
    const loop = new Loop(kept, node.recursive ? recurse : null, depth)
    let completed = false
    for (let value = loop.next(); value !== undefined; value = loop.next()) {
      const inner = new Scope(scope)
      assign(inner, value)
      inner.set("loop", loop)
      const flow = body(inner, output)
      if (flow === "break") break
      completed ||= flow === "next"
    }
    // Jinja2's `else` also runs where no pass came to its end
    return completed ? "next" : otherwise(new Scope(scope), output)
  }
  function* matching(items: Value, scope: Scope): Iterable<Value> {
    const iterator = iterate(items)
    for (let step = iterator.next(); !step.done; step = iterator.next()) {
      spend(1)
      const inner = new Scope(scope)
      assign(inner, step.value)
      if (isTrue(test!(inner))) yield step.value
    }
  }
  return (scope, output) => run(over(scope), 0, scope, output)
}

/** What a body writes, as a text. */
function captured(body: Execute, scope: Scope): string {
  const output = new Output()
  body(scope, output)
  return output.text
}

/**
 * What a statement does with the filtered text of its body; nothing where the body leaves a loop.
 */
type Use = (scope: Scope, value: Value, output: Output) => void

/** A chain of filters whose first one is applied to what `input` gives. */
function compileChain(filter: TemplateExpression | null, input: Evaluate, place: Place): Evaluate {
  if (filter === null) return input
  if (filter.kind !== "filter") throw new InputError(`line ${filter.line}: expected a filter`)
  return compileFilter(filter, compileChain(filter.input, input, place), place)
}

/** Where a body's text waits for its filters. */
const BODY = " body"

function compileFiltered(
  filter: TemplateExpression | null,
  statements: Body,
  place: Place,
  use: Use,
): Execute {
  const body = compileBody(statements, place)
  const filtered = compileChain(filter, (scope) => scope.get(BODY), place)
  return (scope, output) => {
    const inner = new Scope(scope)
    const written = new Output()
    const flow = body(new Scope(scope), written)
    if (flow !== "next") return flow
    inner.set(BODY, written.text)
    use(scope, filtered(inner), output)
    return "next"
  }
}

function compileSetBlock(node: Kind<"set block">, place: Place): Execute {
  const assign = compileTarget(node.target)
  return compileFiltered(node.filter, node.body, place, assign)
}

function compileFilterBlock(node: Kind<"filter block">, place: Place): Execute {
  return compileFiltered(node.filter, node.body, place, (scope, value, output) => {
    output.write(text(value), scope)
  })
}

function compileWith(node: Kind<"with">, place: Place): Execute {
  const bindings = node.bindings.map(({ target, value }) => ({
    assign: compileTarget(target),
    value: compileExpression(value, place),
  }))
  const body = compileBody(node.body, plainly(place))
  return (scope, output) => {
    const inner = new Scope(scope)
    for (const { assign, value } of bindings) assign(inner, value(scope))
    return body(inner, output)
  }
}

/** Whether a part of a template reads a name. */
function mentions(node: unknown, name: string): boolean {
  if (Array.isArray(node)) return node.some((part) => mentions(part, name))
  if (typeof node !== "object" || node === null) return false
  if ("kind" in node && node.kind === "name" && "name" in node && node.name === name) return true
  return Object.values(node).some((part) => mentions(part, name))
}

/** A macro, closed over the scope it is defined in (jinja2/runtime.py, Macro). */
function compileMacro(
  name: string,
  parameters: readonly MacroParameter[],
  body: Body,
): (scope: Scope) => Callable {
  const run = compileBody(body, inFunction)
  const names = parameters.map((parameter) => parameter.name)
  const presets = parameters.map(({ preset }) =>
    preset === null ? null : compileExpression(preset, inFunction),
  )
  const takes = {
    caller: mentions(body, "caller") && !names.includes("caller"),
    kwargs: mentions(body, "kwargs"),
    varargs: mentions(body, "varargs"),
  }

  const invoke = (outer: Scope, args: readonly Value[], named: Named): string => {
    const left = new Map(named)
    const scope = new Scope(outer)
    const given = names.map((parameter, i) => {
      if (i < args.length) return args[i]
      const value = left.get(parameter)
      left.delete(parameter)
      return value
    })
    if (takes.caller) {
      scope.set("caller", left.get("caller") ?? new Undefined("No caller defined"))
      left.delete("caller")
    }
    if (takes.kwargs) scope.set("kwargs", new Dict(left))
    else if (left.size > 0) {
      refuse(`macro '${name}' takes no keyword argument '${[...left.keys()][0]}'`)
    }
    if (takes.varargs) scope.set("varargs", new Tuple(args.slice(names.length)))
    else if (args.length > names.length) {
      refuse(`macro '${name}' takes not more than ${names.length} argument(s)`)
    }
    for (const [i, parameter] of names.entries()) {
      const missing = new Undefined(`parameter '${parameter}' was not provided`)
      const value = given[i] === undefined ? presets[i]?.(scope) : given[i]
      scope.set(parameter, value === undefined ? missing : value)
    }
    return nested(() => captured(run, scope))
  }
  const told = new Map<string, Value>([
    ["name", name],
    ["arguments", new Tuple(names)],
    ["catch_kwargs", takes.kwargs],
    ["catch_varargs", takes.varargs],
    ["caller", takes.caller],
  ])
  return (scope) => new Callable("Macro", name, (args, named) => invoke(scope, args, named), told)
}

function compileCallBlock(node: Kind<"call block">, place: Place): Execute {
  const callee = compileExpression(node.call.callee, place)
  const given = compileArguments(node.call.given, place)
  const caller = compileMacro("caller", node.parameters, node.body)
  return (scope, output) => {
    const called = callee(scope)
    const { args, named } = given(scope)
    const withCaller = new Map(named).set("caller", caller(scope))
    output.write(text(call(called, args, withCaller)), scope)
    return "next"
  }
}

/** Transformers makes it a call block: what is set inside stays inside. */
function compileGeneration(node: Kind<"generation">): Execute {
  const body = compileBody(node.body, inFunction)
  return (scope, output) => {
    const { marks } = scope.rendering
    const said = captured(body, new Scope(scope))
    if (marks === null) output.write(said, scope)
    else {
      const message = scope.owner() ?? ""
      output.write(marks.open + message + marks.between + said + marks.close, scope)
    }
    return "next"
  }
}
