import { spend } from "./budget.ts"
import { equal } from "./operators.ts"
import { iterate, lengthOf } from "./sequences.ts"
import { Callable, refuse, Thing, Tuple, Undefined, type Value } from "./values.ts"

/** Renders the body of a recursive loop for another sequence. */
export type Recurse = (over: Value, depth: number) => string

/**
 * `loop` in the body of a `for` (jinja2/runtime.py, LoopContext). It looks ahead only when asked.
 */
export class Loop extends Thing {
  readonly type = "LoopContext"
  private readonly source: Value
  private readonly recurse: Recurse | null
  private readonly depth: number
  private items: Iterator<Value>
  private size: number | undefined
  private index = -1
  private before: Value | undefined
  private current: Value | undefined
  /** Taken from the items and not yet given; null where there are no more. */
  private ahead: { readonly value: Value } | null | undefined
  private changedTo: Value | undefined

  constructor(source: Value, recurse: Recurse | null, depth: number) {
    super()
    this.source = source
    this.recurse = recurse
    this.depth = depth
    this.items = iterate(source)
  }

  /** What the loop is at; null before its first. */
  get item(): Value {
    return this.current ?? null
  }

  /** The next item; undefined at the end. */
  next(): Value | undefined {
    spend(1)
    const found = this.peek()
    this.ahead = undefined
    if (found === null) return undefined
    this.index++
    this.before = this.current
    this.current = found.value
    return found.value
  }

  private peek(): { readonly value: Value } | null {
    if (this.ahead === undefined) {
      const step = this.items.next()
      this.ahead = step.done ? null : { value: step.value }
    }
    return this.ahead
  }

  private length(): number {
    if (this.size !== undefined) return this.size
    this.size = lengthOf(this.source)
    if (this.size === undefined) {
      const rest: Value[] = []
      for (let step = this.items.next(); !step.done; step = this.items.next()) {
        spend(1)
        rest.push(step.value)
      }
      this.items = rest.values()
      this.size = rest.length + this.index + 1 + (this.ahead ? 1 : 0)
    }
    return this.size
  }

  attribute(name: string): Value | undefined {
    switch (name) {
      case "index":
        return this.index + 1
      case "index0":
        return this.index
      case "first":
        return this.index === 0
      case "last":
        return this.peek() === null
      case "length":
        return this.length()
      case "revindex":
        return this.length() - this.index
      case "revindex0":
        return this.length() - this.index - 1
      case "depth":
        return this.depth + 1
      case "depth0":
        return this.depth
      case "previtem":
        return this.index === 0 ? new Undefined("there is no previous item") : this.before
      case "nextitem":
        return this.peek()?.value ?? new Undefined("there is no next item")
      case "cycle":
        return new Callable("method", name, (args) =>
          args.length > 0 ? args[this.index % args.length]! : refuse("no items for cycling given"),
        )
      case "changed":
        return new Callable("method", name, (args) => this.changed(new Tuple(args)))
      default:
        return undefined
    }
  }

  private changed(to: Value): boolean {
    const differs = this.changedTo === undefined || !equal(this.changedTo, to)
    this.changedTo = to
    return differs
  }

  override print(): string {
    return `<LoopContext ${this.index + 1}/${this.length()}>`
  }

  override iterator(): Iterator<Value> {
    return refuse("a loop over `loop` itself is not supported here")
  }

  override call(args: readonly Value[]): Value {
    if (this.recurse === null) {
      return refuse("The loop must have the 'recursive' marker to be called recursively.")
    }
    if (args.length !== 1) refuse("loop() takes one argument")
    return this.recurse(args[0]!, this.depth + 1)
  }
}
