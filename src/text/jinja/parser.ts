import { tokens } from "./lexer.ts"
import { parseExpression, parseFilter, parseTuple } from "./parse-expression.ts"
import type { Body, MacroParameter, Statement, Target, TemplateExpression } from "./syntax.ts"
import { TokenCursor } from "./token-cursor.ts"

/**
 * Tags of Jinja2 that need other templates, or a page to escape for: a chat template has neither.
 */
const REFUSED = ["block", "extends", "include", "import", "from", "autoescape"]

/**
 * Parses a chat template as Transformers' environment does: Jinja2's tags, `break` and `continue`,
 * and `generation`.
 *
 * @throws InputError naming the line
 */
export function parseTemplate(source: string): Body {
  const at = new TokenCursor(tokens(source))
  const body = parseBody(at, [])
  if (!at.is("end")) unknownTag(at)
  return body
}

/** Statements up to one of the tags in `ends`, whose name comes next then. */
function parseBody(at: TokenCursor, ends: readonly string[]): Body {
  const body: Statement[] = []
  for (;;) {
    const { type, text, line } = at.current
    if (type === "data") {
      body.push({ kind: "text", line, text })
      at.next()
    } else if (type === "variable begin") {
      at.next()
      body.push({ kind: "output", line, value: parseTuple(at) })
      at.expect("variable end")
    } else if (type === "block begin") {
      at.next()
      if (at.isWord(...ends)) return body
      body.push(...parseStatement(at))
      at.expect("block end")
    } else if (type === "end") {
      if (ends.length > 0) at.fail(`unexpected end of template; it looks for ${named(ends)}`)
      return body
    } else at.fail(`unexpected '${at.described}'`)
  }
}

const named = (tags: readonly string[]) => tags.map((tag) => `'${tag}'`).join(" or ")

/** The rest of a tag, its body, and the name of the tag that ends it. */
function parseBlock(at: TokenCursor, ...ends: readonly string[]): Body {
  at.skip(":")
  at.expect("block end")
  return parseBody(at, ends)
}

/** A body that ends with one tag alone. */
function closedBlock(at: TokenCursor, end: string): Body {
  const body = parseBlock(at, end)
  at.next()
  return body
}

function unknownTag(at: TokenCursor): never {
  return at.fail(`unknown tag '${at.described}'`)
}

function parseStatement(at: TokenCursor): Statement[] {
  const { line } = at
  if (!at.is("name")) at.fail("tag name expected")
  if (at.isWord(...REFUSED)) at.fail(`the tag '${at.described}' is not supported here`)
  const tag = at.next().text
  switch (tag) {
    case "if":
      return [parseIf(at, line)]
    case "for":
      return [parseFor(at, line)]
    case "set":
      return [parseSet(at, line)]
    case "macro": {
      const name = at.expect("name").text
      const parameters = parseParameters(at)
      return [{ kind: "macro", line, name, parameters, body: closedBlock(at, "endmacro") }]
    }
    case "call":
      return [parseCallBlock(at, line)]
    case "filter": {
      const filter = filterChain(at, parseFilter(at, null))
      return [{ kind: "filter block", line, filter, body: closedBlock(at, "endfilter") }]
    }
    case "with":
      return [parseWith(at, line)]
    case "print": {
      const printed: Statement[] = []
      while (!at.is("block end")) {
        if (printed.length > 0) at.expect(",")
        printed.push({ kind: "output", line, value: parseExpression(at) })
      }
      return printed
    }
    case "generation":
      return [{ kind: "generation", line, body: closedBlock(at, "endgeneration") }]
    case "break":
    case "continue":
      return [{ kind: tag, line }]
    default:
      return at.fail(`unknown tag '${tag}'`, line)
  }
}

function parseIf(at: TokenCursor, line: number): Statement {
  const branches: { test: TemplateExpression; body: Body }[] = []
  do {
    const test = parseTuple(at, { conditional: false })
    branches.push({ test, body: parseBlock(at, "elif", "else", "endif") })
  } while (at.skipWord("elif"))
  return { kind: "if", line, branches, otherwise: otherwise(at, "endif") }
}

/** What stands behind `else`, if that comes next, up to the tag that ends the whole. */
function otherwise(at: TokenCursor, end: string): Body {
  return at.next().text === "else" ? closedBlock(at, end) : []
}

function parseFor(at: TokenCursor, line: number): Statement {
  const target = parseTarget(at, { until: "in" })
  at.expectWord("in")
  const over = parseTuple(at, { conditional: false, until: "recursive" })
  const test = at.skipWord("if") ? parseExpression(at) : null
  const recursive = at.skipWord("recursive")
  const body = parseBlock(at, "endfor", "else")
  const rest = otherwise(at, "endfor")
  return { kind: "for", line, target, over, test, recursive, body, otherwise: rest }
}

function parseSet(at: TokenCursor, line: number): Statement {
  const target = parseTarget(at, { namespaces: true })
  if (at.skip("=")) return { kind: "set", line, target, value: parseTuple(at) }
  const filter = filterChain(at, null)
  return { kind: "set block", line, target, filter, body: closedBlock(at, "endset") }
}

/** Filters that follow, on what comes before them. */
function filterChain(at: TokenCursor, first: TemplateExpression): TemplateExpression
function filterChain(at: TokenCursor, first: TemplateExpression | null): TemplateExpression | null
function filterChain(at: TokenCursor, first: TemplateExpression | null): TemplateExpression | null {
  let whole = first
  while (at.skip("|")) whole = parseFilter(at, whole)
  return whole
}

function parseCallBlock(at: TokenCursor, line: number): Statement {
  const parameters = at.is("(") ? parseParameters(at) : []
  const call = parseExpression(at)
  if (call.kind !== "call") return at.fail("expected call", line)
  return { kind: "call block", line, parameters, call, body: closedBlock(at, "endcall") }
}

function parseWith(at: TokenCursor, line: number): Statement {
  const bindings: { target: Target; value: TemplateExpression }[] = []
  while (!at.is("block end")) {
    if (bindings.length > 0) at.expect(",")
    const target = parseTarget(at, {})
    at.expect("=")
    bindings.push({ target, value: parseExpression(at) })
  }
  return { kind: "with", line, bindings, body: closedBlock(at, "endwith") }
}

function parseParameters(at: TokenCursor): MacroParameter[] {
  const parameters: MacroParameter[] = []
  at.expect("(")
  while (!at.is(")")) {
    if (parameters.length > 0) at.expect(",")
    const name = assignable(at, at.expect("name").text)
    const preset = at.skip("=") ? parseExpression(at) : null
    if (preset === null && parameters.at(-1)?.preset) {
      at.fail("non-default argument follows default argument")
    }
    if (parameters.some((other) => other.name === name)) at.fail(`two parameters '${name}'`)
    parameters.push({ name, preset })
  }
  at.expect(")")
  return parameters
}

const RESERVED = ["true", "false", "none", "True", "False", "None"]

function assignable(at: TokenCursor, name: string): string {
  if (RESERVED.includes(name)) at.fail(`can't assign to '${name}'`)
  return name
}

interface TargetRules {
  readonly until?: string
  readonly namespaces?: boolean
}

/** What is assigned to: a name, `namespace.attribute`, or several with commas between them. */
function parseTarget(at: TokenCursor, { until, namespaces = false }: TargetRules): Target {
  const items: Target[] = []
  let isTuple = false
  for (;;) {
    if (items.length > 0) at.expect(",")
    if (at.is("block end", ")") || (until !== undefined && at.isWord(until))) break
    items.push(oneTarget(at, namespaces))
    if (!at.is(",")) break
    isTuple = true
  }
  if (items.length === 0) return at.fail(`expected a name, got '${at.described}'`)
  return isTuple ? { kind: "tuple", items } : items[0]!
}

function oneTarget(at: TokenCursor, namespaces: boolean): Target {
  if (at.skip("(")) {
    const inner = parseTarget(at, { namespaces })
    at.expect(")")
    return inner
  }
  if (!at.is("name")) return at.fail(`can't assign to '${at.described}'`)
  const name = assignable(at, at.next().text)
  if (!namespaces || !at.skip(".")) return { kind: "name", name }
  return { kind: "namespace", name, attribute: at.expect("name").text }
}
