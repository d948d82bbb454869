import { Interpreter } from "@huggingface/jinja"
import {
  boundedInterpreter,
  type JinjaInterpreter,
  type JinjaNode,
  type JinjaScope,
  type JinjaValue,
} from "./jinja.ts"
import {
  type Again,
  depthOf,
  derivedValue,
  isText,
  joined,
  NOWHERE,
  type Piece,
  StringValue,
  type TextValue,
  TRIMS,
  type Trace,
  TracedText,
  textOf,
  traced,
  trimmed,
} from "./traced-text.ts"

/** A node that has been evaluated already. */
const LEAF = "Evaluated"
const leaf = (value: JinjaValue) => ({ type: LEAF, value })
const evaluated = (node: JinjaNode | undefined): JinjaValue | undefined =>
  node?.type === LEAF ? (node as unknown as { value: JinjaValue }).value : undefined

/** Answers again what was asked of other texts, by the library. */
const bare: JinjaInterpreter = (() => {
  const interpreter: JinjaInterpreter = new Interpreter(NOWHERE)
  const evaluate = interpreter.evaluate.bind(interpreter)
  interpreter.evaluate = (node, scope) => evaluated(node) ?? evaluate(node, scope)
  return interpreter
})()

/** Values that hold no text of the chat but their own. */
const CONSTANTS: ReadonlySet<string> = new Set([
  "StringValue",
  "IntegerValue",
  "FloatValue",
  "BooleanValue",
  "NullValue",
  "UndefinedValue",
])
const isConstant = ({ type }: JinjaValue) => CONSTANTS.has(type)

/** What a traced text is made of; a constant as it is. */
type Operand = readonly Piece[] | JinjaValue

const operandOf = (value: JinjaValue): Operand =>
  value instanceof TracedText ? value.pieces : value
const madeOf = (operand: Operand, texts: readonly string[]): JinjaValue =>
  Array.isArray(operand)
    ? new StringValue(textOf(operand as readonly Piece[], texts))
    : (operand as JinjaValue)
const piecesOf = (value: TextValue): readonly Piece[] =>
  value instanceof TracedText ? value.pieces : [value.value]
const plainOf = (value: JinjaValue): JinjaValue =>
  value instanceof TracedText ? new StringValue(value.plain) : value

const JOINING: ReadonlySet<string> = new Set(["+", "~"])
const ASKING: ReadonlySet<string> = new Set(["==", "!=", "in", "not in"])
/** Filters that make a text of a text alone; those not here are the library's to apply. */
const TEXT_FILTERS: ReadonlySet<string> = new Set(["trim", "indent", "tojson"])

interface Binary extends JinjaNode {
  readonly operator: { readonly value: string }
  readonly left: JinjaNode
  readonly right: JinjaNode
}
interface Filter extends JinjaNode {
  readonly operand: JinjaNode
  readonly filter: { readonly type: string; readonly value?: string }
}
interface Loop extends JinjaNode {
  readonly body: readonly JinjaNode[]
  readonly defaultBlock: readonly JinjaNode[]
}
const withOperands = (node: Binary, left: JinjaValue, right: JinjaValue): Binary => ({
  ...node,
  left: leaf(left),
  right: leaf(right),
})
const withOperand = (node: Filter, operand: JinjaValue): Filter => ({
  ...node,
  operand: leaf(operand),
})
const binaryAgain =
  (node: Binary, left: Operand, right: Operand): Again =>
  (texts) =>
    bare.evaluate(withOperands(node, madeOf(left, texts), madeOf(right, texts)), NOWHERE)
const filterAgain =
  (node: Filter, pieces: readonly Piece[]): Again =>
  (texts) =>
    bare.evaluate(withOperand(node, madeOf(pieces, texts)), NOWHERE)

/** The library's private parts that are followed; where they are gone, texts are read and lost. */
interface Inside {
  evaluateBlock(statements: readonly JinjaNode[], scope: JinjaScope): JinjaValue
}

/** Stands for a round of a loop, whose texts the library joins itself. */
const ROUND = /\uE0F4(\d+)\uE0F5/g
const round = (index: number) => `\uE0F4${index}\uE0F5`

/**
 * An interpreter that follows the traced texts of its environment.
 *
 * It counts the steps that `boundedInterpreter` counts, and whatever is lost on the way it renders
 * the same text.
 */
export function tracingInterpreter(environment: JinjaScope, trace: Trace): JinjaInterpreter {
  const interpreter = boundedInterpreter(environment)
  const inside = interpreter as unknown as Inside
  const evaluate = interpreter.evaluate
  const loopBodies = new WeakSet<readonly JinjaNode[]>()
  const rounds: (readonly Piece[])[] = []

  const binary = (node: Binary, scope: JinjaScope): JinjaValue => {
    const operator = node.operator.value
    const joins = JOINING.has(operator)
    if (!joins && !ASKING.has(operator)) return evaluate(node, scope)
    const left = interpreter.evaluate(node.left, scope)
    const right = interpreter.evaluate(node.right, scope)
    const follows = left instanceof TracedText || right instanceof TracedText
    const knows = joins ? isText(left) && isText(right) : isConstant(left) && isConstant(right)
    if (!follows || !knows) return evaluate(withOperands(node, left, right), scope)
    const result = evaluate(withOperands(node, plainOf(left), plainOf(right)), scope)
    if (joins) {
      const pieces = [...piecesOf(left as TextValue), ...piecesOf(right as TextValue)]
      return traced(trace, pieces, result.value as string)
    }
    return derivedValue(trace, binaryAgain(node, operandOf(left), operandOf(right)), result, 0)
  }

  const filtered = (node: Filter, scope: JinjaScope): JinjaValue => {
    const operand = interpreter.evaluate(node.operand, scope)
    const { type, value: name } = node.filter
    if (!(operand instanceof TracedText) || type !== "Identifier" || !TEXT_FILTERS.has(name!)) {
      return evaluate(withOperand(node, operand), scope)
    }
    const result = evaluate(withOperand(node, plainOf(operand)), scope)
    const { pieces } = operand
    const trim = TRIMS.get(name!)
    if (trim !== undefined) return trimmed(trace, operand, trim)
    return derivedValue(trace, filterAgain(node, pieces), result, depthOf(pieces) + 1)
  }

  const loop = (node: Loop, scope: JinjaScope): JinjaValue => {
    loopBodies.add(node.body).add(node.defaultBlock)
    const whole = evaluate(node, scope)
    const marks = whole.value as string
    if (marks.replaceAll(ROUND, "") !== "") {
      trace.lost = true // not joined from the blocks below: another version of the library
      return whole
    }
    const pieces = [...marks.matchAll(ROUND)].flatMap(([, index]) => rounds[Number(index)]!)
    return tracedOrPlain(pieces)
  }

  /** Without a message's text in it, it is the template's own. */
  const tracedOrPlain = (pieces: readonly Piece[]): JinjaValue =>
    pieces.every((piece) => typeof piece === "string")
      ? new StringValue(pieces.join(""))
      : traced(trace, pieces, textOf(pieces, trace.texts))

  interpreter.evaluate = (node, scope) => {
    const done = evaluated(node)
    if (done !== undefined) return done
    switch (node?.type) {
      case "BinaryExpression":
        return binary(node as Binary, scope)
      case "FilterExpression":
        return filtered(node as Filter, scope)
      case "For":
        return loop(node as unknown as Loop, scope)
      default:
        return evaluate(node, scope)
    }
  }
  inside.evaluateBlock = (statements, scope) => {
    const pieces: Piece[] = []
    for (const statement of statements) {
      const value = interpreter.evaluate(statement, scope)
      if (value.type === "NullValue" || value.type === "UndefinedValue") continue
      if (value instanceof TracedText) pieces.push(...value.pieces)
      else pieces.push(value.toString())
    }
    if (!loopBodies.has(statements)) return tracedOrPlain(pieces)
    return new StringValue(round(rounds.push(joined(pieces)) - 1))
  }
  return interpreter
}
