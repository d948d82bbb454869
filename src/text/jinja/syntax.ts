/**
 * What a template is made of: the nodes of Jinja2's grammar (jinja2/nodes.py), as plain records.
 */

export type BinaryOp = "+" | "-" | "*" | "/" | "//" | "%" | "**"
export type CompareOp = "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "not in"

export interface Arguments {
  readonly positional: readonly TemplateExpression[]
  readonly named: readonly { readonly name: string; readonly value: TemplateExpression }[]
  /** `*rest` and `**more` of a call. */
  readonly rest: TemplateExpression | null
  readonly more: TemplateExpression | null
}

export type TemplateExpression = { readonly line: number } & (
  | { readonly kind: "constant"; readonly value: string | number | bigint | boolean | null }
  | { readonly kind: "float"; readonly value: number }
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "attribute"; readonly of: TemplateExpression; readonly name: string }
  | { readonly kind: "item"; readonly of: TemplateExpression; readonly index: TemplateExpression }
  | { readonly kind: "slice"; readonly of: TemplateExpression; readonly bounds: Bounds }
  | { readonly kind: "call"; readonly callee: TemplateExpression; readonly given: Arguments }
  /** `input` is null where a block is filtered. */
  | {
      readonly kind: "filter"
      readonly input: TemplateExpression | null
      readonly name: string
      readonly given: Arguments
    }
  | {
      readonly kind: "test"
      readonly input: TemplateExpression
      readonly name: string
      readonly given: Arguments
    }
  | { readonly kind: "sign"; readonly op: "+" | "-"; readonly of: TemplateExpression }
  | { readonly kind: "not"; readonly of: TemplateExpression }
  | {
      readonly kind: "and" | "or"
      readonly left: TemplateExpression
      readonly right: TemplateExpression
    }
  | {
      readonly kind: "binary"
      readonly op: BinaryOp
      readonly left: TemplateExpression
      readonly right: TemplateExpression
    }
  | { readonly kind: "concat"; readonly parts: readonly TemplateExpression[] }
  | {
      readonly kind: "compare"
      readonly first: TemplateExpression
      readonly rest: readonly { readonly op: CompareOp; readonly with: TemplateExpression }[]
    }
  | {
      readonly kind: "conditional"
      readonly test: TemplateExpression
      readonly then: TemplateExpression
      readonly otherwise: TemplateExpression | null
    }
  | { readonly kind: "list" | "tuple"; readonly items: readonly TemplateExpression[] }
  | {
      readonly kind: "dict"
      readonly pairs: readonly (readonly [TemplateExpression, TemplateExpression])[]
    }
)

/** Start, stop and step of a slice. */
export type Bounds = readonly [
  TemplateExpression | null,
  TemplateExpression | null,
  TemplateExpression | null,
]

export type Target =
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "namespace"; readonly name: string; readonly attribute: string }
  | { readonly kind: "tuple"; readonly items: readonly Target[] }

export interface MacroParameter {
  readonly name: string
  readonly preset: TemplateExpression | null
}

export type Body = readonly Statement[]

export type Statement = { readonly line: number } & (
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "output"; readonly value: TemplateExpression }
  | {
      readonly kind: "if"
      readonly branches: readonly { readonly test: TemplateExpression; readonly body: Body }[]
      readonly otherwise: Body
    }
  | {
      readonly kind: "for"
      readonly target: Target
      readonly over: TemplateExpression
      readonly test: TemplateExpression | null
      readonly recursive: boolean
      readonly body: Body
      readonly otherwise: Body
    }
  | { readonly kind: "set"; readonly target: Target; readonly value: TemplateExpression }
  | {
      readonly kind: "set block"
      readonly target: Target
      readonly filter: TemplateExpression | null
      readonly body: Body
    }
  | {
      readonly kind: "macro"
      readonly name: string
      readonly parameters: readonly MacroParameter[]
      readonly body: Body
    }
  | {
      readonly kind: "call block"
      readonly parameters: readonly MacroParameter[]
      readonly call: TemplateExpression & { readonly kind: "call" }
      readonly body: Body
    }
  | { readonly kind: "filter block"; readonly filter: TemplateExpression; readonly body: Body }
  | {
      readonly kind: "with"
      readonly bindings: readonly { readonly target: Target; readonly value: TemplateExpression }[]
      readonly body: Body
    }
  /** Transformers' own tag, around what the assistant says. */
  | { readonly kind: "generation"; readonly body: Body }
  | { readonly kind: "break" | "continue" }
)
