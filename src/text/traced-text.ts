import { Environment } from "@huggingface/jinja"
import type { JinjaScope, JinjaValue } from "./jinja.ts"

/**
 * Strings that know what they are made of: which stretches are a template's own, which are made of
 * a message's text and how, and which questions about those texts were answered. What is not
 * followed (a length, a slice, a dump of a whole message) reads the text itself, and the trace then
 * says that it was lost.
 *
 * What is kept of a trace is made by functions of this module alone: a closure of the interpreter's
 * would keep the chat that was traced.
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

export interface TextValue extends JinjaValue {
  readonly value: string
  readonly builtins: { get(name: string): JinjaValue | undefined }
}
interface FunctionValue extends JinjaValue {
  readonly value: (args: JinjaValue[], scope: JinjaScope) => JinjaValue
}
type TextClass = new (text: string) => TextValue

/** The library exports its interpreter, and not the classes of its values. */
export const StringValue = new Environment().set("", "").constructor as unknown as TextClass
const NativeFunction = new Environment().set("", () => null).constructor as new (
  call: FunctionValue["value"],
) => FunctionValue

export const isText = (value: JinjaValue): value is TextValue => value instanceof StringValue

export const textOf = (pieces: readonly Piece[], texts: readonly string[]): string => {
  let text = ""
  for (const piece of pieces) text += typeof piece === "string" ? piece : piece.made(texts)
  return text
}

export const depthOf = (pieces: readonly Piece[]) =>
  pieces.reduce(
    (depth, piece) => (typeof piece === "string" ? depth : Math.max(depth, piece.depth)),
    0,
  )

/** A string that knows what it is made of. To the library it is a string like any other. */
export class TracedText extends StringValue {
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
    const known = (arg: JinjaValue) => PLAIN_ARGUMENTS.has(arg.type) && !(arg instanceof TracedText)
    if (!args.every(known)) {
      this.trace.lost = true // keyword arguments may hold what is traced
      return result
    }
    const { pieces } = this
    const trim = args.length === 0 ? TRIMS.get(name) : undefined
    if (trim !== undefined) return trimmed(this.trace, this, trim)
    return derivedValue(this.trace, methodAgain(pieces, name, args), result, depthOf(pieces) + 1)
  }

  override __bool__(): ReturnType<JinjaValue["__bool__"]> {
    const truth = new StringValue(this.plain).__bool__()
    guard(this.trace, filled(this.pieces), truth.value)
    return truth
  }

  override toString(): string {
    return this.value as string
  }
}

const PLAIN_ARGUMENTS: ReadonlySet<string> = new Set(["StringValue", "IntegerValue", "NullValue"])
/** A scope for what needs none. */
export const NOWHERE: JinjaScope = new Environment()

/** What templates do with nearly every text, as the library does it, without its interpreter. */
export const TRIMS: ReadonlyMap<string, (text: string) => string> = new Map([
  ["trim", (text) => text.trim()],
  ["strip", (text) => text.trim()],
  ["lstrip", (text) => text.trimStart()],
  ["rstrip", (text) => text.trimEnd()],
])

/** Makes a value again of other texts. */
export type Again = (texts: readonly string[]) => JinjaValue

const methodAgain =
  (pieces: readonly Piece[], name: string, args: JinjaValue[]): Again =>
  (texts) => {
    const method = new StringValue(textOf(pieces, texts)).builtins.get(name)
    return (method as FunctionValue).value(args, NOWHERE)
  }
const filled =
  (pieces: readonly Piece[]): Guard["ask"] =>
  (texts) =>
    textOf(pieces, texts) !== ""
const trimAgain =
  (pieces: readonly Piece[], trim: (text: string) => string): Derived["made"] =>
  (texts) =>
    trim(textOf(pieces, texts))
const textAgain =
  (again: Again): Derived["made"] =>
  (texts) =>
    again(texts).value as string
const answerAgain =
  (again: Again): Guard["ask"] =>
  (texts) =>
    again(texts).value
const partsAgain = (again: Again, texts: readonly string[]) => again(texts).value as TextValue[]
const countAgain =
  (again: Again): Guard["ask"] =>
  (texts) =>
    partsAgain(again, texts).length
const partAgain =
  (again: Again, i: number): Derived["made"] =>
  (texts) =>
    partsAgain(again, texts)[i]!.value

export function trimmed(
  trace: Trace,
  { pieces, plain }: TracedText,
  trim: (text: string) => string,
): JinjaValue {
  const piece = { depth: depthOf(pieces) + 1, made: trimAgain(pieces, trim) }
  return traced(trace, [piece], trim(plain))
}

function guard(trace: Trace, ask: Guard["ask"], answer: unknown): void {
  if (trace.guards.length >= MAX_GUARDS) trace.lost = true
  if (!trace.lost) trace.guards.push({ ask, answer })
}

/** A text that goes on being followed, unless that is lost or has become too much. */
export function traced(trace: Trace, pieces: readonly Piece[], plain: string): JinjaValue {
  if (pieces.length > MAX_PIECES || depthOf(pieces) > MAX_DEPTH) trace.lost = true
  return trace.lost ? new StringValue(plain) : new TracedText(trace, joined(pieces), plain)
}

/** Neighbouring words of the template as one piece. */
export function joined(pieces: readonly Piece[]): Piece[] {
  const all: Piece[] = []
  for (const piece of pieces) {
    const last = all.at(-1)
    if (typeof piece === "string" && typeof last === "string") all[all.length - 1] = last + piece
    else if (piece !== "") all.push(piece)
  }
  return all
}

/** What the library made of traced texts, as something that can be made again of others. */
export function derivedValue(
  trace: Trace,
  again: Again,
  result: JinjaValue,
  depth: number,
): JinjaValue {
  if (isText(result)) return traced(trace, [{ depth, made: textAgain(again) }], result.value)
  if (result.type === "BooleanValue") {
    guard(trace, answerAgain(again), result.value)
    return result
  }
  if (result.type === "ArrayValue" && (result.value as JinjaValue[]).every(isText)) {
    const parts = result.value as TextValue[]
    guard(trace, countAgain(again), parts.length)
    const followed = parts.map(({ value }, i) =>
      traced(trace, [{ depth, made: partAgain(again, i) }], value),
    )
    ;(result as { value: unknown }).value = followed
    return result
  }
  trace.lost = true
  return result
}
