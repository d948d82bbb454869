import { spendOutput } from "./budget.ts"
import { Loop } from "./loop.ts"
import { Dict, Undefined, type Value } from "./values.ts"

/**
 * What is written around a `{% generation %}` block: `open`, its message's number, `between`, the
 * block, `close`.
 */
export interface Marks {
  readonly open: string
  readonly between: string
  readonly close: string
}

/** A stretch of what was written, in UTF-16 units, and the message that it is about; null: none. */
export interface Piece {
  readonly message: number | null
  readonly start: number
  readonly end: number
}

/** What one rendering is to tell beside its text. */
export interface Rendering {
  /** null: generation blocks are not marked. */
  readonly marks: Marks | null
  /** Messages of the chat, by the values that the template has of them. */
  readonly owners: ReadonlyMap<Value, number>
}

const NOTHING_TOLD: Rendering = { marks: null, owners: new Map() }

/** What a template writes into. */
export class Output {
  text = ""
  /** null: not noted. */
  readonly pieces: Piece[] | null

  constructor(pieces: Piece[] | null = null) {
    this.pieces = pieces
  }
  write(added: string, scope: Scope): void {
    const start = this.text.length
    this.text += added
    const end = this.text.length
    spendOutput(end, added.length)
    if (this.pieces !== null && end > start) this.note(scope.owner(), start, end)
  }
  private note(message: number | null, start: number, end: number): void {
    const last = this.pieces!.at(-1)
    if (last?.message === message) this.pieces![this.pieces!.length - 1] = { ...last, end }
    else this.pieces!.push({ message, start, end })
  }
}

/** Names and what they stand for, inside those of an outer scope. */
export class Scope {
  private readonly names = new Map<string, Value>()
  private readonly outer: Scope | null
  readonly rendering: Rendering
  /** Of the whole template, not of a loop or block in it. */
  private readonly isOutermost: boolean

  /** @param rendering given for the scope of a whole template. */
  constructor(outer: Scope | null, rendering?: Rendering) {
    this.outer = outer
    this.rendering = rendering ?? outer?.rendering ?? NOTHING_TOLD
    this.isOutermost = rendering !== undefined || outer === null
  }
  set(name: string, value: Value): void {
    this.names.set(name, value)
  }
  get(name: string): Value {
    let scope: Scope | null = this
    do {
      const value = scope.names.get(name)
      if (value !== undefined) return value
      scope = scope.outer
    } while (scope !== null)
    return new Undefined(() => `'${name}' is undefined`)
  }

  /** The current message: the item of the innermost loop, or the message assigned inside it. */
  owner(): number | null {
    const { owners } = this.rendering
    for (let scope: Scope | null = this; scope !== null; scope = scope.outer) {
      if (scope.isOutermost) return null
      const loop = scope.names.get("loop")
      const looped = loop instanceof Loop ? owners.get(loop.item) : undefined
      if (looped !== undefined) return looped
      for (const value of scope.names.values()) {
        const named = value instanceof Dict ? owners.get(value) : undefined
        if (named !== undefined) return named
      }
    }
    return null
  }
}
