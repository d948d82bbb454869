import { type Answer, infinity, type RelationOperator, scalar, symbolsOf } from "./answer.ts"
import { type MathExpression, negate } from "./math-expression.ts"
import { lineWithout } from "./number-line.ts"
import { numericValue } from "./numeric.ts"
import { compareScalars } from "./scalar.ts"

/** What a relation says of a name: its value, or the set of its values. */

export type Relation = Extract<Answer, { kind: "relation" }>

export const isEquation = ({ operators }: Relation): boolean => operators.every((op) => op === "=")

/**
 * `x = 5`, `f(x) = 5`, `|AB| = 5`, `x \in S`, `x > 5`: what the name stands for. Sums are no names,
 * nor are `x/2` and `e^x`; a chain of constants that are not equal, `3 = 5`, says nothing.
 *
 * @param lenient `\sin x` names a value that a sine can have, `AB^2` and `a/b` name theirs.
 */
export function withoutName(answer: Answer, lenient: boolean): Answer {
  if (answer.kind === "list") {
    const [first, ...rest] = answer.items
    if (first?.kind !== "relation") return answer
    if (rest.every(({ kind }) => kind !== "relation")) {
      const bare = withoutName(first, lenient)
      return bare === first ? answer : { ...answer, items: [bare, ...rest] }
    }
    return excluded(answer.items, answer.written) ?? answer
  }
  if (answer.kind !== "relation") return answer
  const last = answer.sides.at(-1)!
  const first = answer.sides[0]!
  if (answer.operators.length === 1 && answer.operators[0] === "\\in") {
    return isName(first, lenient) ? last : answer
  }
  if (!isEquation(answer)) return solutionsOf(answer) ?? answer
  const constants = answer.sides.filter((side) => side.kind === "scalar" && isConstant(side))
  if (constants.some((side) => !nearlyEqual(side, constants.at(-1)!))) return answer
  if (!isConstant(last) && isName(last, false) && constants.length > 0) {
    const others = answer.sides.filter((side) => !isConstant(side))
    return others.every((side) => isName(side, false)) ? constants.at(-1)! : last
  }
  if (isConstant(first) && first.kind === "scalar") return last
  return isName(first, lenient, last) ? last : answer
}

const isConstant = (side: Answer): boolean => symbolsOf(side).size === 0

/** `\sqrt 2 = 1.41` is a rounding, `3 = 5` is none. */
function nearlyEqual(a: Answer, b: Answer): boolean {
  if (a.kind !== "scalar" || b.kind !== "scalar") return true
  if (compareScalars(a.value, b.value, { lenient: true }).equal) return true
  const [x, y] = [a, b].map(({ value }) => numericValue(value, () => Number.NaN).re)
  return !(Math.abs(x! - y!) > 0.01 * Math.max(Math.abs(x!), Math.abs(y!)))
}

const NAME_WORDS = /^(?:\\(?:text|mathrm|textbf)\s*\{[^{}]*\}|[A-Za-z]+)(?:\s*\([^()]*\))?$/

function isName(side: Answer, lenient: boolean, value?: Answer): boolean {
  if (side.kind === "tuple") return side.items.every((item) => isName(item, lenient))
  if (side.kind === "text" || side.kind === "unreadable") return !/[+]/.test(side.written)
  if (side.kind !== "scalar") return false
  if (/^\|\s*[A-Z]{1,2}\s*\|$|^\|\s*\\(?:vec|overrightarrow|mathbf)/.test(side.written)) return true
  return NAME_WORDS.test(side.written) || isNameExpression(side.value, lenient, value)
}

const SHAPES: ReadonlySet<string> = new Set(["Sin", "Cos", "Tan", "Cot", "Sec", "Csc"])
/** Functions that everybody knows: what they are applied to is asked for, not what they give. */
const KNOWN_FUNCTIONS: ReadonlySet<string> = new Set(
  "Abs Ln Log Lb Exp Sqrt Root Square Factorial Floor Ceil Sinh Cosh Tanh Arcsin Arccos Arctan Negate Divide Degrees".split(
    " ",
  ),
)

/**
 * A symbol, a product of symbols, a function of something; leniently a sine, a square of a segment,
 * a ratio.
 */
function isNameExpression(x: MathExpression, lenient: boolean, value?: Answer): boolean {
  if (x.op === "symbol") return true
  if (x.op === "call") {
    if (SHAPES.has(x.name)) return lenient && couldBe(x.name, value)
    return !KNOWN_FUNCTIONS.has(x.name)
  }
  if (x.op === "power") {
    const [base, exponent] = x.args
    if (!lenient) return false
    if (base.op === "call") return SHAPES.has(base.name) && couldBe(base.name, value)
    return isSegment(base) && exponent.op === "number" && exponent.numerator > 0n
  }
  if (x.op !== "multiply") return false
  return x.args.every((arg, i) => {
    if (arg.op === "power" && isMinusOne(arg.args[1])) {
      return lenient && i > 0 && isNameExpression(arg.args[0], lenient)
    }
    return arg.op !== "number" && isNameExpression(arg, lenient)
  })
}

const isMinusOne = (x: MathExpression): boolean =>
  x.op === "number" && x.numerator === -1n && x.denominator === 1n
const isSegment = (x: MathExpression): boolean =>
  x.op === "multiply" && x.args.every((arg) => arg.op === "symbol" && /^[A-Z]/.test(arg.name))

/** No sine is 5. */
function couldBe(name: string, value: Answer | undefined): boolean {
  if (value?.kind !== "scalar") return value !== undefined
  const { re } = numericValue(value.value, () => Number.NaN)
  if (name === "Sin" || name === "Cos") return !(Math.abs(re) > 1)
  return name === "Sec" || name === "Csc" ? !(Math.abs(re) < 1) : true
}

/** `x \ge 5`, `0 < x < 1`, `|x| > 1`, `x \ne 1` as the set of what stands there. */
export function solutionsOf(relation: Relation): Answer | undefined {
  const { sides, operators, written } = relation
  if (operators.join() === "\\in") return sides[1]
  if (operators.length === 1 && operators[0] === "\\ne") return excluded([relation], written)
  const up = operators.every((op) => op === "<" || op === "\\le")
  const down = operators.every((op) => op === ">" || op === "\\ge")
  if (!up && !down) return undefined
  const [ascending, ops] = up ? [sides, operators] : [sides.toReversed(), operators.toReversed()]
  const opens = ops.map((op) => op === "<" || op === ">")
  const isBound = (side: Answer): boolean => side.kind === "scalar" && isConstant(side)
  const isVariable = (side: Answer): boolean => isName(side, false)
  if (ascending.length === 3 && isVariable(ascending[1]!)) {
    return interval(ascending[0]!, ascending[2]!, [opens[0]!, opens[1]!], written)
  }
  if (ascending.length !== 2) return undefined
  const [low, high] = [ascending[0]!, ascending[1]!]
  const byDistance = withinDistance(low, high, opens[0]!, written)
  if (byDistance) return byDistance
  if (isVariable(low) && isBound(high)) {
    return interval(infinity(-1), high, [true, opens[0]!], written)
  }
  if (isBound(low) && isVariable(high))
    return interval(low, infinity(1), [opens[0]!, true], written)
  return undefined
}

const interval = (
  low: Answer,
  high: Answer,
  open: readonly [boolean, boolean],
  written: string,
): Answer => ({ kind: "interval", ends: [low, high], open, written })

/** `|x - c| < r` and `r < |x - c|`. */
function withinDistance(
  low: Answer,
  high: Answer,
  open: boolean,
  written: string,
): Answer | undefined {
  const inside = centreOf(low) !== undefined
  const [x, r] = inside ? [low, high] : [high, low]
  const centre = centreOf(x)
  if (centre === undefined || r.kind !== "scalar" || !isConstant(r)) return undefined
  const end = (sign: 1 | -1): Answer => {
    const step = sign === 1 ? r.value : negate(r.value)
    return scalar({ op: "add", args: [centre, step] }, `${sign}*(${r.written})`)
  }
  if (inside) return interval(end(-1), end(1), [open, open], written)
  const left = interval(infinity(-1), end(-1), [true, open], written)
  const right = interval(end(1), infinity(1), [open, true], written)
  return { kind: "union", items: [left, right], written }
}

/** c of `|x - c|`, 0 of `|x|`. */
function centreOf(side: Answer): MathExpression | undefined {
  if (side.kind !== "scalar" || side.value.op !== "call" || side.value.name !== "Abs")
    return undefined
  const inner = side.value.args[0]
  if (inner?.op === "symbol") {
    return { op: "number", numerator: 0n, denominator: 1n, decimal: false }
  }
  if (inner?.op !== "add" || inner.args.length !== 2) return undefined
  const [first, second] = inner.args
  if (first!.op !== "symbol" || symbolsOf(scalar(second!, "")).size > 0) return undefined
  return negate(second!)
}

/** `x \ne 1` and `x \ne 1, x \ne 2`: the line without them. */
function excluded(items: readonly Answer[], written: string): Answer | undefined {
  const points: Answer[] = []
  for (const item of items) {
    if (item.kind !== "relation" || item.operators.join() !== "\\ne") return undefined
    if (!isName(item.sides[0]!, false)) return undefined
    points.push(item.sides[1]!)
  }
  return lineWithout(points, written)
}

export const FLIPPED: { readonly [Op in RelationOperator]: RelationOperator } = {
  "=": "=",
  "\\ne": "\\ne",
  "<": ">",
  "\\le": "\\ge",
  ">": "<",
  "\\ge": "\\le",
  "\\in": "\\in",
}
