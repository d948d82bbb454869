import { spendOutput } from "./budget.ts"
import { Undefined, type Value } from "./values.ts"

/** Written around what `{% generation %}` encloses. */
export interface Marks {
  readonly open: string
  readonly close: string
}

/** What a template writes into. */
export class Output {
  text = ""
  write(added: string): void {
    this.text += added
    spendOutput(this.text.length, added.length)
  }
}

/** Names and what they stand for, inside those of an outer scope. */
export class Scope {
  private readonly names = new Map<string, Value>()
  private readonly outer: Scope | null
  /** null: generation blocks are not marked. */
  readonly marks: Marks | null

  constructor(outer: Scope | null, marks: Marks | null = outer?.marks ?? null) {
    this.outer = outer
    this.marks = marks
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
}
