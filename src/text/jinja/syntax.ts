/** What a template is made of: the nodes of Jinja2's grammar (jinja2/nodes.py), as plain records. */

export type BinaryOp = "+" | "-" | "*" | "/" | "//" | "%" | "**"
export type CompareOp = "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "not in"

export interface Arguments {
  readonly positional: readonly Expression[]
  readonly named: readonly { readonly name: string; readonly value: Expression }[]
  /** `*rest` and `**more` of a call. */
  readonly rest: Expression | null
  readonly more: Expression | null
}

export type Expression = { readonly line: number } & (
  | { readonly kind: "constant"; readonly value: string | number | bigint | boolean | null }
  | { readonly kind: "float"; readonly value: number }
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "attribute"; readonly of: Expression; readonly name: string }
  | { readonly kind: "item"; readonly of: Expression; readonly index: Expression }
  | { readonly kind: "slice"; readonly of: Expression; readonly bounds: Bounds }
  | { readonly kind: "call"; readonly callee: Expression; readonly given: Arguments }
  /** `input` is null where a block is filtered. */
  | {
      readonly kind: "filter"
      readonly input: Expression | null
      readonly name: string
      readonly given: Arguments
    }
  | {
      readonly kind: "test"
      readonly input: Expression
      readonly name: string
      readonly given: Arguments
    }
  | { readonly kind: "sign"; readonly op: "+" | "-"; readonly of: Expression }
  | { readonly kind: "not"; readonly of: Expression }
  | { readonly kind: "and" | "or"; readonly left: Expression; readonly right: Expression }
  | {
      readonly kind: "binary"
      readonly op: BinaryOp
      readonly left: Expression
      readonly right: Expression
    }
  | { readonly kind: "concat"; readonly parts: readonly Expression[] }
  | {
      readonly kind: "compare"
      readonly first: Expression
      readonly rest: readonly { readonly op: CompareOp; readonly with: Expression }[]
    }
  | {
      readonly kind: "conditional"
      readonly test: Expression
      readonly then: Expression
      readonly otherwise: Expression | null
    }
  | { readonly kind: "list" | "tuple"; readonly items: readonly Expression[] }
  | { readonly kind: "dict"; readonly pairs: readonly (readonly [Expression, Expression])[] }
)

/** Start, stop and step of a slice. */
export type Bounds = readonly [Expression | null, Expression | null, Expression | null]

export type Target =
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "namespace"; readonly name: string; readonly attribute: string }
  | { readonly kind: "tuple"; readonly items: readonly Target[] }

export interface Parameter {
  readonly name: string
  readonly preset: Expression | null
}

export type Body = readonly Statement[]

export type Statement = { readonly line: number } & (
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "output"; readonly value: Expression }
  | {
      readonly kind: "if"
      readonly branches: readonly { readonly test: Expression; readonly body: Body }[]
      readonly otherwise: Body
    }
  | {
      readonly kind: "for"
      readonly target: Target
      readonly over: Expression
      readonly test: Expression | null
      readonly recursive: boolean
      readonly body: Body
      readonly otherwise: Body
    }
  | { readonly kind: "set"; readonly target: Target; readonly value: Expression }
  | {
      readonly kind: "set block"
      readonly target: Target
      readonly filter: Expression | null
      readonly body: Body
    }
  | {
      readonly kind: "macro"
      readonly name: string
      readonly parameters: readonly Parameter[]
      readonly body: Body
    }
  | {
      readonly kind: "call block"
      readonly parameters: readonly Parameter[]
      readonly call: Expression & { readonly kind: "call" }
      readonly body: Body
    }
  | { readonly kind: "filter block"; readonly filter: Expression; readonly body: Body }
  | {
      readonly kind: "with"
      readonly bindings: readonly { readonly target: Target; readonly value: Expression }[]
      readonly body: Body
    }
  /** Transformers' own tag, around what the assistant says. */
  | { readonly kind: "generation"; readonly body: Body }
  | { readonly kind: "break" | "continue" }
)
