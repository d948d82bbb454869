import type { Arguments, BinaryOp, Bounds, CompareOp, TemplateExpression } from "./syntax.ts"
import type { TokenCursor } from "./token-cursor.ts"

/**
 * Jinja2's expressions, with its precedence (jinja2/parser.py): `~` binds tighter than `+`, filters
 * and tests tighter than any operator but `.`, `[]` and `()`, and comparisons chain as in Python.
 */

export function parseExpression(at: TokenCursor, conditional = true): TemplateExpression {
  return conditional ? conditionalExpression(at) : orExpression(at)
}

function conditionalExpression(at: TokenCursor): TemplateExpression {
  let { line } = at
  let then = orExpression(at)
  while (at.skipWord("if")) {
    const test = orExpression(at)
    const otherwise = at.skipWord("else") ? conditionalExpression(at) : null
    then = { kind: "conditional", line, test, then, otherwise }
    line = at.line
  }
  return then
}

function orExpression(at: TokenCursor): TemplateExpression {
  const { line } = at
  let left = andExpression(at)
  while (at.skipWord("or")) left = { kind: "or", line, left, right: andExpression(at) }
  return left
}

function andExpression(at: TokenCursor): TemplateExpression {
  const { line } = at
  let left = notExpression(at)
  while (at.skipWord("and")) left = { kind: "and", line, left, right: notExpression(at) }
  return left
}

function notExpression(at: TokenCursor): TemplateExpression {
  const { line } = at
  if (at.skipWord("not")) return { kind: "not", line, of: notExpression(at) }
  return comparison(at)
}

const COMPARISONS: ReadonlySet<string> = new Set(["==", "!=", "<", "<=", ">", ">="])

function comparison(at: TokenCursor): TemplateExpression {
  const { line } = at
  const first = sum(at)
  const rest: { op: CompareOp; with: TemplateExpression }[] = []
  for (;;) {
    if (COMPARISONS.has(at.current.type)) {
      const op = at.next().type as CompareOp
      rest.push({ op, with: sum(at) })
    } else if (at.skipWord("in")) {
      rest.push({ op: "in", with: sum(at) })
    } else if (at.isWord("not") && at.look().type === "name" && at.look().text === "in") {
      at.next()
      at.next()
      rest.push({ op: "not in", with: sum(at) })
    } else {
      return rest.length === 0 ? first : { kind: "compare", line, first, rest }
    }
  }
}

const binaryLevel =
  (operators: readonly string[], below: (at: TokenCursor) => TemplateExpression) =>
  (at: TokenCursor): TemplateExpression => {
    const { line } = at
    let left = below(at)
    while (at.is(...operators)) {
      const op = at.next().type as BinaryOp
      left = { kind: "binary", line, op, left, right: below(at) }
    }
    return left
  }

const power = binaryLevel(["**"], (at) => unary(at, true))
const product = binaryLevel(["*", "/", "//", "%"], power)
const sum = binaryLevel(["+", "-"], concatenation)

function concatenation(at: TokenCursor): TemplateExpression {
  const { line } = at
  const parts = [product(at)]
  while (at.skip("~")) parts.push(product(at))
  return parts.length === 1 ? parts[0]! : { kind: "concat", line, parts }
}

function unary(at: TokenCursor, filters: boolean): TemplateExpression {
  const { line } = at
  let node: TemplateExpression
  if (at.is("-", "+")) {
    node = { kind: "sign", line, op: at.next().type as "+" | "-", of: unary(at, false) }
  } else node = parsePrimary(at)
  node = postfix(at, node)
  return filters ? filtersAndTests(at, node) : node
}

const CONSTANTS: ReadonlyMap<string, boolean | null> = new Map([
  ...(["true", "True"] as const).map((name) => [name, true] as const),
  ...(["false", "False"] as const).map((name) => [name, false] as const),
  ...(["none", "None"] as const).map((name) => [name, null] as const),
])

function parsePrimary(at: TokenCursor): TemplateExpression {
  const { type, text, line } = at.current
  switch (type) {
    case "name": {
      at.next()
      const value = CONSTANTS.get(text)
      return value === undefined ? { kind: "name", line, name: text } : constant(line, value)
    }
    case "string": {
      let whole = ""
      while (at.is("string")) whole += at.next().text
      return constant(line, whole)
    }
    case "integer":
      at.next()
      return constant(line, wholeNumber(text))
    case "float":
      at.next()
      return { kind: "float", line, value: Number(text) }
    case "(": {
      at.next()
      const inner = parseTuple(at, { parentheses: true })
      at.expect(")")
      return inner
    }
    case "[":
      return listLiteral(at)
    case "{":
      return dictLiteral(at)
    default:
      return at.fail(`unexpected '${at.described}'`)
  }
}

type Constant = Extract<TemplateExpression, { readonly kind: "constant" }>["value"]

const constant = (line: number, value: Constant): TemplateExpression => ({
  kind: "constant",
  line,
  value,
})

function wholeNumber(text: string): number | bigint {
  const value = BigInt(text)
  return Number.isSafeInteger(Number(value)) ? Number(value) : value
}

interface TupleRules {
  /** false: `if` is not the beginning of a conditional. */
  readonly conditional?: boolean
  /** A word that ends it. */
  readonly until?: string
  readonly parentheses?: boolean
}

/** An expression, or several with commas between them. */
export function parseTuple(
  at: TokenCursor,
  { conditional = true, until, parentheses = false }: TupleRules = {},
): TemplateExpression {
  const { line } = at
  const items: TemplateExpression[] = []
  let isTuple = false
  for (;;) {
    if (items.length > 0) at.expect(",")
    if (at.is("variable end", "block end", ")") || (until !== undefined && at.isWord(until))) break
    items.push(parseExpression(at, conditional))
    if (!at.is(",")) break
    isTuple = true
  }
  if (!isTuple && items.length > 0) return items[0]!
  if (!isTuple && !parentheses) at.fail(`expected an expression, got '${at.described}'`)
  return { kind: "tuple", line, items }
}

function listLiteral(at: TokenCursor): TemplateExpression {
  const { line } = at.expect("[")
  const items: TemplateExpression[] = []
  while (!at.is("]")) {
    if (items.length > 0) at.expect(",")
    if (at.is("]")) break
    items.push(parseExpression(at))
  }
  at.expect("]")
  return { kind: "list", line, items }
}

function dictLiteral(at: TokenCursor): TemplateExpression {
  const { line } = at.expect("{")
  const pairs: (readonly [TemplateExpression, TemplateExpression])[] = []
  while (!at.is("}")) {
    if (pairs.length > 0) at.expect(",")
    if (at.is("}")) break
    const key = parseExpression(at)
    at.expect(":")
    pairs.push([key, parseExpression(at)])
  }
  at.expect("}")
  return { kind: "dict", line, pairs }
}

function postfix(at: TokenCursor, node: TemplateExpression): TemplateExpression {
  let whole = node
  for (;;) {
    if (at.is(".")) whole = attribute(at, whole)
    else if (at.is("[")) whole = subscript(at, whole)
    else if (at.is("(")) whole = call(at, whole)
    else return whole
  }
}

function attribute(at: TokenCursor, of: TemplateExpression): TemplateExpression {
  const { line } = at.expect(".")
  if (at.is("name")) return { kind: "attribute", line, of, name: at.next().text }
  if (!at.is("integer")) at.fail("expected name or number")
  return { kind: "item", line, of, index: constant(line, wholeNumber(at.next().text)) }
}

function subscript(at: TokenCursor, of: TemplateExpression): TemplateExpression {
  const { line } = at.expect("[")
  const items: TemplateExpression[] = []
  let bounds: Bounds | undefined
  while (!at.is("]")) {
    if (items.length > 0 || bounds !== undefined) at.expect(",")
    if (bounds !== undefined) at.fail("slices of several dimensions are not supported here")
    const first = at.is(":") ? null : parseExpression(at)
    if (at.is(":")) bounds = sliceBounds(at, first)
    else items.push(first!)
    if (bounds !== undefined && items.length > 0) {
      at.fail("slices of several dimensions are not supported here")
    }
  }
  at.expect("]")
  if (bounds !== undefined) return { kind: "slice", line, of, bounds }
  const index: TemplateExpression = items.length === 1 ? items[0]! : { kind: "tuple", line, items }
  return { kind: "item", line, of, index }
}

function sliceBounds(at: TokenCursor, start: TemplateExpression | null): Bounds {
  at.expect(":")
  const part = () => (at.is("]", ",", ":") ? null : parseExpression(at))
  const stop = part()
  return [start, stop, at.skip(":") ? part() : null]
}

function call(at: TokenCursor, callee: TemplateExpression): TemplateExpression {
  const { line } = at
  return { kind: "call", line, callee, given: parseArguments(at) }
}

const NO_ARGUMENTS: Arguments = { positional: [], named: [], rest: null, more: null }

function parseArguments(at: TokenCursor): Arguments {
  const { line } = at.expect("(")
  const positional: TemplateExpression[] = []
  const named: { name: string; value: TemplateExpression }[] = []
  let rest: TemplateExpression | null = null
  let more: TemplateExpression | null = null
  const ensure = (holds: boolean) => {
    if (!holds) at.fail("invalid syntax for function call expression", line)
  }
  for (let first = true; !at.is(")"); first = false) {
    if (!first) at.expect(",")
    if (at.is(")")) break
    if (at.skip("*")) {
      ensure(rest === null && more === null)
      rest = parseExpression(at)
    } else if (at.skip("**")) {
      ensure(more === null)
      more = parseExpression(at)
    } else if (at.is("name") && at.look().type === "=") {
      ensure(more === null)
      const name = at.next().text
      at.next()
      ensure(!named.some((other) => other.name === name))
      named.push({ name, value: parseExpression(at) })
    } else {
      ensure(rest === null && more === null && named.length === 0)
      positional.push(parseExpression(at))
    }
  }
  at.expect(")")
  return { positional, named, rest, more }
}

function filtersAndTests(at: TokenCursor, node: TemplateExpression): TemplateExpression {
  let whole = node
  for (;;) {
    if (at.is("|")) {
      at.next()
      whole = parseFilter(at, whole)
    } else if (at.isWord("is")) whole = parseTest(at, whole)
    else if (at.is("(")) whole = call(at, whole)
    else return whole
  }
}

function dottedName(at: TokenCursor): string {
  let name = at.expect("name").text
  while (at.skip(".")) name += `.${at.expect("name").text}`
  return name
}

/** The filter whose name comes next. */
export function parseFilter(at: TokenCursor, input: TemplateExpression | null): TemplateExpression {
  const { line } = at
  const name = dottedName(at)
  const given = at.is("(") ? parseArguments(at) : NO_ARGUMENTS
  return { kind: "filter", line, input, name, given }
}

const OPERAND = ["name", "string", "integer", "float", "(", "[", "{"]

function parseTest(at: TokenCursor, input: TemplateExpression): TemplateExpression {
  const { line } = at.next()
  const negated = at.skipWord("not")
  const name = dottedName(at)
  let given = NO_ARGUMENTS
  if (at.is("(")) given = parseArguments(at)
  else if (at.is(...OPERAND) && !at.isWord("else", "or", "and")) {
    if (at.isWord("is")) at.fail("You cannot chain multiple tests with is")
    given = { ...NO_ARGUMENTS, positional: [postfix(at, parsePrimary(at))] }
  }
  const test: TemplateExpression = { kind: "test", line, input, name, given }
  return negated ? { kind: "not", line, of: test } : test
}
