import { freeSymbols, integer, type MathExpression } from "./math-expression.ts"

export type RelationOperator = "=" | "\\ne" | "<" | "\\le" | ">" | "\\ge" | "\\in"

/** What an answer is. `written` is its normalised text, for comparing letter by letter. */
export type Answer = { readonly written: string } & (
  | { readonly kind: "text"; readonly words: string }
  | {
      readonly kind: "scalar"
      readonly value: MathExpression
      readonly unit: string
      readonly percent: boolean
      /** A degree sign was taken off the end. */
      readonly degrees: boolean
    }
  | { readonly kind: "list" | "tuple" | "set"; readonly items: readonly Answer[] }
  | {
      readonly kind: "interval"
      readonly ends: readonly [Answer, Answer]
      readonly open: readonly [boolean, boolean]
    }
  | { readonly kind: "union"; readonly items: readonly Answer[] }
  | { readonly kind: "matrix"; readonly rows: readonly (readonly MathExpression[])[] }
  | {
      readonly kind: "relation"
      readonly sides: readonly Answer[]
      readonly operators: readonly RelationOperator[]
    }
  /** `x \\equiv 5 \\pmod 7`; the name is undefined for `5 \\pmod 7`. */
  | {
      readonly kind: "congruence"
      readonly name: Answer | undefined
      readonly value: Answer
      readonly modulus: Answer
    }
  /** `1011_2`: digits of a base other than ten, or of ten when it says so. */
  | { readonly kind: "based"; readonly value: bigint; readonly base: number }
  /** Looks like mathematics, and could not be read. */
  | { readonly kind: "unreadable" }
)

const INFINITE: MathExpression = { op: "symbol", name: "PositiveInfinity" }

/** A bare scalar. */
export const scalar = (value: MathExpression, written: string): Answer => ({
  kind: "scalar",
  value,
  unit: "",
  percent: false,
  degrees: false,
  written,
})

export const infinity = (sign: 1 | -1): Answer =>
  sign === 1
    ? scalar(INFINITE, "\\infty")
    : scalar({ op: "multiply", args: [integer(-1), INFINITE] }, "-\\infty")

export const openInterval = (low: Answer, high: Answer, written: string): Answer => ({
  kind: "interval",
  ends: [low, high],
  open: [true, true],
  written,
})

/** The symbols of an answer that is a scalar. */
export const symbolsOf = (answer: Answer): ReadonlySet<string> =>
  answer.kind === "scalar" ? freeSymbols(answer.value) : new Set()
