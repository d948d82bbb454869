import { Environment, Interpreter } from "@huggingface/jinja"
import {
  boundedInterpreter,
  type JinjaInterpreter,
  type JinjaNode,
  type JinjaScope,
  type JinjaValue,
} from "./jinja.ts"

/**
 * Follows the texts of a chat through a template while the library renders it: which stretches of
 * the result are the template's own, which are made of a message's text and how, and which
 * questions about those texts decided the way. What is not followed (a length, a slice, a dump of
 * a whole message) reads the text itself, and the trace says that it was lost.
 */

/** A stretch of a text: the template's own words, or what it makes of the messages' texts. */
export type Piece = string | Derived

interface Derived {
  /** Derivations inside one another. */
  readonly depth: number
  readonly made: (texts: readonly string[]) => string
}

/** A question about the texts, and how it was answered. */
export interface Guard {
  readonly ask: (texts: readonly string[]) => unknown
  readonly answer: unknown
}

export interface Trace {
  /** The messages' own texts. */
  readonly texts: readonly string[]
  readonly guards: Guard[]
  /** Something read a text in a way that is not followed: nothing can be said of other texts. */
  lost: boolean
}

/** A text of the chat, followed from here on: number `index` of the trace's texts. */
export const chatText = (trace: Trace, index: number): JinjaValue =>
  new TracedText(trace, [{ depth: 0, made: (texts) => texts[index]! }], trace.texts[index]!)

/** What a rendering is made of. */
export const tracedPieces = (value: JinjaValue): readonly Piece[] =>
  value instanceof TracedText ? value.pieces : [String(value.value)]

/** What a text may consist of, and how deep it may be derived, before it is no longer followed. */
const MAX_PIECES = 10_000
const MAX_DEPTH = 64
const MAX_GUARDS = 1_000

interface TextValue extends JinjaValue {
  readonly value: string
  readonly builtins: { get(name: string): JinjaValue | undefined }
}
interface FunctionValue extends JinjaValue {
  readonly value: (args: JinjaValue[], scope: JinjaScope) => JinjaValue
}
type TextClass = new (text: string) => TextValue

/** The library exports its interpreter, and not the classes of its values. */
const StringValue = new Environment().set("", "").constructor as unknown as TextClass
const NativeFunction = new Environment().set("", () => null).constructor as new (
  call: FunctionValue["value"],
) => FunctionValue

const isText = (value: JinjaValue): value is TextValue => value instanceof StringValue

export const textOf = (pieces: readonly Piece[], texts: readonly string[]): string => {
  let text = ""
  for (const piece of pieces) text += typeof piece === "string" ? piece : piece.made(texts)
  return text
}

const depthOf = (pieces: readonly Piece[]) =>
  pieces.reduce(
    (depth, piece) => (typeof piece === "string" ? depth : Math.max(depth, piece.depth)),
    0,
  )

/** A string that knows what it is made of. To the library it is a string like any other. */
class TracedText extends StringValue {
  readonly pieces: readonly Piece[]
  /** The text itself; reading `value` says that it was lost, this does not. */
  readonly plain: string
  private readonly trace: Trace

  constructor(trace: Trace, pieces: readonly Piece[], plain: string) {
    super("")
    this.trace = trace
    this.pieces = pieces
    this.plain = plain
    // the library's field is the object's own: an accessor of the class would never be asked
    Object.defineProperty(this, "value", {
      get: () => {
        trace.lost = true
        return plain
      },
    })
  }

  override get builtins(): TextValue["builtins"] {
    const own = new StringValue(this.plain).builtins
    return {
      get: (name) => {
        const found = own.get(name)
        if (found?.type === "FunctionValue") {
          return new NativeFunction((args, scope) => {
            const result = (found as FunctionValue).value(args, scope)
            return this.called(name, args, result)
          })
        }
        if (found !== undefined) this.trace.lost = true
        return found
      },
    }
  }

  /** A method of the text, with the library's own result. */
  private called(name: string, args: JinjaValue[], result: JinjaValue): JinjaValue {
    if (!args.every((arg) => PLAIN_ARGUMENTS.has(arg.type))) {
      this.trace.lost = true // keyword arguments may hold what is traced
      return result
    }
    const { pieces } = this
    const depth = depthOf(pieces) + 1
    const trim = args.length === 0 ? TRIMS.get(name) : undefined
    if (trim !== undefined) return trimmed(this.trace, this, trim, depth)
    const again = (texts: readonly string[]): JinjaValue => {
      const method = new StringValue(textOf(pieces, texts)).builtins.get(name)
      return (method as FunctionValue).value(args, NOWHERE)
    }
    return derivedValue(this.trace, again, result, depth)
  }

  override __bool__(): ReturnType<JinjaValue["__bool__"]> {
    const { pieces } = this
    const truth = new StringValue(this.plain).__bool__()
    guard(this.trace, (texts) => textOf(pieces, texts) !== "", truth.value)
    return truth
  }

  override toString(): string {
    return this.value as string
  }
}

/** Their values are read by the library when a method is called, which a traced text notices. */
const PLAIN_ARGUMENTS: ReadonlySet<string> = new Set(["StringValue", "IntegerValue", "NullValue"])
const NOWHERE: JinjaScope = new Environment()

/** What templates do with nearly every text, as the library does it, without its interpreter. */
const TRIMS: ReadonlyMap<string, (text: string) => string> = new Map([
  ["trim", (text) => text.trim()],
  ["strip", (text) => text.trim()],
  ["lstrip", (text) => text.trimStart()],
  ["rstrip", (text) => text.trimEnd()],
])

function trimmed(
  trace: Trace,
  { pieces, plain }: TracedText,
  trim: (text: string) => string,
  depth: number,
): JinjaValue {
  const made = (texts: readonly string[]) => trim(textOf(pieces, texts))
  return traced(trace, [{ depth, made }], trim(plain))
}

function guard(trace: Trace, ask: Guard["ask"], answer: unknown): void {
  if (trace.guards.length >= MAX_GUARDS) trace.lost = true
  if (!trace.lost) trace.guards.push({ ask, answer })
}

/** A text that goes on being followed, unless that is lost or has become too much. */
function traced(trace: Trace, pieces: readonly Piece[], plain: string): JinjaValue {
  if (pieces.length > MAX_PIECES || depthOf(pieces) > MAX_DEPTH) trace.lost = true
  return trace.lost ? new StringValue(plain) : new TracedText(trace, joined(pieces), plain)
}

/** Neighbouring words of the template as one piece. */
function joined(pieces: readonly Piece[]): Piece[] {
  const all: Piece[] = []
  for (const piece of pieces) {
    const last = all.at(-1)
    if (typeof piece === "string" && typeof last === "string") all[all.length - 1] = last + piece
    else if (piece !== "") all.push(piece)
  }
  return all
}

/** What the library made of traced texts, as something that can be made again of others. */
function derivedValue(
  trace: Trace,
  again: (texts: readonly string[]) => JinjaValue,
  result: JinjaValue,
  depth: number,
): JinjaValue {
  const derived = (made: Derived["made"], plain: string) => traced(trace, [{ depth, made }], plain)
  if (isText(result)) return derived((texts) => again(texts).value as string, result.value)
  if (result.type === "BooleanValue") {
    guard(trace, (texts) => again(texts).value, result.value)
    return result
  }
  if (result.type === "ArrayValue" && (result.value as JinjaValue[]).every(isText)) {
    const parts = result.value as TextValue[]
    const at = (texts: readonly string[]) => again(texts).value as TextValue[]
    guard(trace, (texts) => at(texts).length, parts.length)
    const followed = parts.map(({ value }, i) => derived((texts) => at(texts)[i]!.value, value))
    ;(result as { value: unknown }).value = followed
    return result
  }
  trace.lost = true
  return result
}

const piecesOf = (value: TextValue): readonly Piece[] =>
  value instanceof TracedText ? value.pieces : [value.value]
/** A traced text made of other texts; anything else as it is. */
const madeOf = (value: JinjaValue, texts: readonly string[]): JinjaValue =>
  value instanceof TracedText ? new StringValue(textOf(value.pieces, texts)) : value
const plainOf = (value: JinjaValue): JinjaValue =>
  value instanceof TracedText ? new StringValue(value.plain) : value

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
    const given = (l: JinjaValue, r: JinjaValue) => ({ ...node, left: leaf(l), right: leaf(r) })
    const follows = left instanceof TracedText || right instanceof TracedText
    const knows = joins ? isText(left) && isText(right) : isConstant(left) && isConstant(right)
    if (!follows || !knows) return evaluate(given(left, right), scope)
    const result = evaluate(given(plainOf(left), plainOf(right)), scope)
    if (joins) {
      const pieces = [...piecesOf(left as TextValue), ...piecesOf(right as TextValue)]
      return traced(trace, pieces, result.value as string)
    }
    const again = (texts: readonly string[]): JinjaValue =>
      bare.evaluate(given(madeOf(left, texts), madeOf(right, texts)), NOWHERE)
    return derivedValue(trace, again, result, 0)
  }

  const filtered = (node: Filter, scope: JinjaScope): JinjaValue => {
    const operand = interpreter.evaluate(node.operand, scope)
    const given = (value: JinjaValue) => ({ ...node, operand: leaf(value) }) as unknown as JinjaNode
    const { type, value: name } = node.filter
    if (!(operand instanceof TracedText) || type !== "Identifier" || !TEXT_FILTERS.has(name!)) {
      return evaluate(given(operand), scope)
    }
    const result = evaluate(given(plainOf(operand)), scope)
    const { pieces } = operand
    const trim = TRIMS.get(name!)
    if (trim !== undefined) return trimmed(trace, operand, trim, depthOf(pieces) + 1)
    const again = (texts: readonly string[]): JinjaValue =>
      bare.evaluate(given(new StringValue(textOf(pieces, texts))), NOWHERE)
    return derivedValue(trace, again, result, depthOf(pieces) + 1)
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
