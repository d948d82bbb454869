import { LATEX_DICTIONARY, LatexSyntax } from "@cortex-js/compute-engine/latex-syntax"

/** What the parser gives; on broken texts also null inside. */
type MathJson =
  | number
  | string
  | null
  | undefined
  | readonly MathJson[]
  | { readonly num?: string; readonly sym?: string; readonly fn?: readonly MathJson[] }

/**
 * A scalar expression: exact rationals, symbols, and operators. Operators that are not arithmetic
 * are `call`s; a name the evaluators do not know is an opaque function of its arguments.
 */
export type MathExpression =
  | {
      readonly op: "number"
      readonly numerator: bigint
      readonly denominator: bigint
      /** Written with a decimal point or an exponent, so perhaps rounded. */
      readonly decimal: boolean
    }
  | { readonly op: "symbol"; readonly name: string }
  | { readonly op: "add" | "multiply"; readonly args: readonly MathExpression[] }
  | { readonly op: "power"; readonly args: readonly [MathExpression, MathExpression] }
  | { readonly op: "matrix"; readonly rows: readonly (readonly MathExpression[])[] }
  | { readonly op: "call"; readonly name: string; readonly args: readonly MathExpression[] }

const MAX_NODES = 1_500
const MAX_DEPTH = 60
const MAX_DIGITS = 2_000

/** Thrown inside this file only: the text is no expression we can read. */
class Unreadable extends Error {}

export const integer = (value: bigint | number): MathExpression => ({
  op: "number",
  numerator: BigInt(value),
  denominator: 1n,
  decimal: false,
})

/** A finite number as the exact decimal that is written for it, never taken for a rounded one. */
export const rational = (value: number): MathExpression => {
  const read = decimalNumber(String(value))
  return read.op === "number" ? { ...read, decimal: false } : read
}

export const negate = (x: MathExpression): MathExpression => ({
  op: "multiply",
  args: [integer(-1), x],
})
export const subtract = (a: MathExpression, b: MathExpression): MathExpression => ({
  op: "add",
  args: [a, negate(b)],
})
const reciprocal = (x: MathExpression): MathExpression => ({ op: "power", args: [x, integer(-1)] })

const MAX_PARSER_CALLS = 20_000
const MAX_BARS = 10

let syntax: LatexSyntax | undefined
let parserCalls = 0

/**
 * The parser, counting. It goes back and tries again, exponentially on hostile texts; counting its
 * tries, and not the time, gives every text one verdict on every machine.
 */
function countingSyntax(): LatexSyntax {
  const dictionary = LATEX_DICTIONARY.map((entry) => {
    const { parse } = entry as { parse?: unknown }
    if (typeof parse !== "function") return entry
    const counted = (...args: unknown[]): unknown => {
      if (++parserCalls > MAX_PARSER_CALLS) throw new Unreadable("too many steps")
      return parse(...args)
    }
    return { ...entry, parse: counted }
  })
  return new LatexSyntax({ dictionary: dictionary as never })
}

/** Bars are tried without the dictionary's handlers, so they are bounded by their number. */
const hasManyBars = (latex: string): boolean =>
  (latex.match(/\||\\[lr]?[vV]ert(?![a-zA-Z])/g)?.length ?? 0) > MAX_BARS

/**
 * Parses a LaTeX scalar (or matrix) expression; undefined when it is not one, or takes more steps
 * than any answer does.
 */
export function parseExpression(latex: string): MathExpression | undefined {
  if (latex.trim() === "" || nesting(latex) > MAX_DEPTH || hasManyBars(latex)) return undefined
  syntax ??= countingSyntax()
  parserCalls = 0
  try {
    return reader()(syntax.parse(latex) as MathJson, 0)
  } catch (error) {
    if (error instanceof Unreadable || error instanceof RangeError || isParserFault(error)) {
      return undefined
    }
    throw error
  }
}

/** The parser throws plain errors and type errors on some malformed texts. */
function isParserFault(error: unknown): boolean {
  return error instanceof Error && (error.stack ?? "").includes("compute-engine")
}

function nesting(text: string): number {
  let depth = 0
  let deepest = 0
  for (const c of text) {
    if (c === "{" || c === "(" || c === "[") deepest = Math.max(deepest, ++depth)
    else if (c === "}" || c === ")" || c === "]") depth--
  }
  return deepest
}

function reader(): (json: MathJson, depth: number) => MathExpression {
  let nodes = 0
  const read = (json: MathJson, depth: number): MathExpression => {
    if (++nodes > MAX_NODES || depth > MAX_DEPTH) throw new Unreadable("too large")
    if (typeof json === "number") return decimalNumber(String(json))
    if (typeof json === "string") return symbol(json)
    if (json === null || json === undefined) throw new Unreadable("a gap")
    if (isList(json)) return readCall(json, depth)
    if (json.num !== undefined) return decimalNumber(json.num)
    if (json.sym !== undefined) return symbol(json.sym)
    if (json.fn !== undefined) return readCall(json.fn, depth)
    throw new Unreadable("text")
  }
  const readCall = (json: readonly MathJson[], depth: number): MathExpression => {
    const head = json[0]
    if (typeof head !== "string" || UNREADABLE.has(head)) throw new Unreadable(String(head))
    if (head === "Matrix") return readMatrix(json[1], depth)
    if (head === "Delimiter") return readDelimiter(json, depth)
    const operands = json.slice(1)
    if (head === "InvisibleOperator") return readProduct(operands, depth)
    const args = operands.map((operand) => read(operand, depth + 1))
    const arithmetic = ARITHMETIC[head]
    return arithmetic ? arithmetic(args) : { op: "call", name: head, args }
  }
  /** `(x)` is x; `(x, y)` after a name are the arguments of an opaque function. */
  const readDelimiter = (json: readonly MathJson[], depth: number): MathExpression => {
    const inner = json[1]
    if (isList(inner) && inner[0] === "Sequence") {
      const args = inner.slice(1).map((item) => read(item, depth + 1))
      return { op: "call", name: "Arguments", args }
    }
    if (inner === undefined) throw new Unreadable("empty parentheses")
    return read(inner, depth + 1)
  }
  const readMatrix = (json: MathJson, depth: number): MathExpression => {
    if (!isList(json)) throw new Unreadable("matrix")
    const rows = json.slice(1).map((row) => {
      if (!isList(row)) throw new Unreadable("matrix row")
      return row.slice(1).map((cell) => read(cell, depth + 1))
    })
    if (rows.length === 0 || rows.length > 20) throw new Unreadable("matrix size")
    if (rows.some((row) => row.length !== rows[0]!.length || row.length > 20 || row.length === 0)) {
      throw new Unreadable("ragged matrix")
    }
    return { op: "matrix", rows }
  }
  /** Juxtaposition is a product; mixed numbers were made sums before (see latex.ts). */
  const readProduct = (operands: readonly MathJson[], depth: number): MathExpression => ({
    op: "multiply",
    args: operands.map((operand) => read(operand, depth + 1)),
  })
  return read
}

const isList = (json: MathJson): json is readonly MathJson[] => Array.isArray(json)

const UNREADABLE = new Set([
  ..."Error Sequence ContinuationPlaceholder Nothing HorizontalSpacing Measurement PlusMinus".split(
    " ",
  ),
  ..."Equal NotEqual Less LessEqual Greater GreaterEqual Approx Element And Or Not Set Union".split(
    " ",
  ),
  ..."Intersection Interval List Tuple_ Which LatexString __unit__".split(" "),
])

const ARITHMETIC: Readonly<
  Record<string, ((args: readonly MathExpression[]) => MathExpression) | undefined>
> = Object.assign(Object.create(null), {
  Add: (args: readonly MathExpression[]) => ({ op: "add", args }),
  Multiply: (args: readonly MathExpression[]) => ({ op: "multiply", args }),
  Negate: ([x]: readonly MathExpression[]) => negate(x!),
  Subtract: ([a, b]: readonly MathExpression[]) => subtract(a!, b!),
  Divide: ([a, b]: readonly MathExpression[]) => ({ op: "multiply", args: [a, reciprocal(b!)] }),
  Power: ([a, b]: readonly MathExpression[]) => powerOf(a!, b!),
  Square: ([a]: readonly MathExpression[]) => ({ op: "power", args: [a, integer(2)] }),
  Colon: ([a, b]: readonly MathExpression[]) => ({ op: "multiply", args: [a, reciprocal(b!)] }),
})

const INVERSES: Readonly<Record<string, string | undefined>> = {
  Sin: "Arcsin",
  Cos: "Arccos",
  Tan: "Arctan",
}

/** `\sin^{-1} x` is written by everybody for the arcsine. */
function powerOf(base: MathExpression, exponent: MathExpression): MathExpression {
  if (base.op === "call" && INVERSES[base.name] && isMinusOne(exponent)) {
    return { op: "call", name: INVERSES[base.name]!, args: base.args }
  }
  return { op: "power", args: [base, exponent] }
}

const isMinusOne = (x: MathExpression): boolean =>
  x.op === "multiply" &&
  x.args.length === 2 &&
  x.args.every((arg) => arg.op === "number" && arg.denominator === 1n) &&
  x.args.reduce((product, arg) => product * (arg.op === "number" ? arg.numerator : 1n), 1n) === -1n

function symbol(name: string): MathExpression {
  if (name.startsWith("'")) throw new Unreadable("text") // a string: '...'
  if (UNREADABLE.has(name)) throw new Unreadable(name)
  return { op: "symbol", name }
}

/** `12`, `-0.25`, `1.2e5`, `0.1(6)` (repeating), as an exact rational. */
function decimalNumber(text: string): MathExpression {
  const match = /^([+-]?)(\d*)(?:\.(\d*))?(?:\((\d+)\))?(?:[eE]([+-]?\d{1,4}))?$/.exec(text)
  if (!match || text.length > MAX_DIGITS) throw new Unreadable(`number ${text.slice(0, 20)}`)
  const [, sign = "", whole = "", fraction = "", repeating = "", exponent = "0"] = match
  if (whole + fraction + repeating === "") throw new Unreadable("number without digits")
  let numerator = BigInt(`${whole}${fraction}` || "0")
  let denominator = 10n ** BigInt(fraction.length)
  if (repeating !== "") {
    const cycle = 10n ** BigInt(repeating.length) - 1n
    numerator = numerator * cycle + BigInt(repeating)
    denominator *= cycle
  }
  const shift = Number(exponent)
  if (Math.abs(shift) > MAX_DIGITS) throw new Unreadable("exponent too large")
  if (shift > 0) numerator *= 10n ** BigInt(shift)
  else denominator *= 10n ** BigInt(-shift)
  const divisor = gcd(numerator, denominator)
  return {
    op: "number",
    numerator: ((sign === "-" ? -1n : 1n) * numerator) / divisor,
    denominator: denominator / divisor,
    decimal: text.includes(".") && repeating === "" ? true : /e/i.test(text),
  }
}

export function gcd(a: bigint, b: bigint): bigint {
  let [x, y] = [a < 0n ? -a : a, b < 0n ? -b : b]
  while (y !== 0n) [x, y] = [y, x % y]
  return x === 0n ? 1n : x
}

/** All sub-expressions, the expression itself first. */
function* subexpressions(x: MathExpression): Generator<MathExpression> {
  yield x
  if (x.op === "matrix")
    for (const row of x.rows) for (const cell of row) yield* subexpressions(cell)
  else if (x.op !== "number" && x.op !== "symbol")
    for (const arg of x.args) yield* subexpressions(arg)
}

/** Whether a decimal fraction or scientific notation is written anywhere in it. */
export function hasDecimal(x: MathExpression): boolean {
  for (const part of subexpressions(x)) if (part.op === "number" && part.decimal) return true
  return false
}

const CONSTANTS = new Set(["Pi", "e", "i", "ExponentialE", "ImaginaryUnit", "PositiveInfinity"])

/** Whether infinity is written anywhere in it. */
export function hasInfinity(x: MathExpression): boolean {
  for (const part of subexpressions(x)) {
    if (part.op === "symbol" && part.name === "PositiveInfinity") return true
  }
  return false
}

/** Names of the free symbols (constants are not among them). */
export function freeSymbols(x: MathExpression): Set<string> {
  const names = new Set<string>()
  for (const part of subexpressions(x)) {
    if (part.op === "symbol" && !CONSTANTS.has(part.name)) names.add(part.name)
  }
  return names
}

/** Replaces one symbol by another. */
export function renameSymbol(x: MathExpression, from: string, to: string): MathExpression {
  switch (x.op) {
    case "number":
      return x
    case "symbol":
      return x.name === from ? { ...x, name: to } : x
    case "matrix":
      return { ...x, rows: x.rows.map((row) => row.map((cell) => renameSymbol(cell, from, to))) }
    case "power":
      return {
        ...x,
        args: [renameSymbol(x.args[0], from, to), renameSymbol(x.args[1], from, to)],
      }
    case "add":
    case "multiply":
    case "call":
      return { ...x, args: x.args.map((arg) => renameSymbol(arg, from, to)) }
  }
}
