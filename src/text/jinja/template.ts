import { InputError } from "../../errors.ts"
import { exactMembers } from "../../formats/exact-json.ts"
import { withBudget } from "./budget.ts"
import { compileBody, type Execute } from "./compile.ts"
import { fromJson } from "./from-json.ts"
import { globals } from "./globals.ts"
import { parseTemplate } from "./parser.ts"
import { type Marks, Output, type Piece, Scope } from "./scope.ts"
import type { Value } from "./values.ts"

export interface RenderSettings {
  /** Written around what `{% generation %}` encloses; left out: nothing. */
  readonly marks?: Marks | undefined
  /** What `strftime_now` tells, in local time; left out: the clock. */
  readonly now?: Date | undefined
  /** Note which message each stretch of the text is about. */
  readonly traced?: boolean | undefined
}

export interface Rendered {
  readonly text: string
  /** Ascending, and together the text; none where it was not traced. */
  readonly pieces: readonly Piece[]
}

/** A chat template, as Jinja2 reads it under Transformers' settings. */
export interface JinjaTemplate {
  /**
   * @throws InputError when Jinja2 would raise, when it is not supported here, or goes on for ever
   */
  render(variables: Readonly<Record<string, unknown>>, settings?: RenderSettings): Rendered
}

const TOO_DEEP = "it is nested too deeply"

function guarded<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    // the stack's end: what recurses is bounded, what nests is not
    throw error instanceof RangeError ? new InputError(TOO_DEEP) : error
  }
}

/** The values that a template has of the chat's messages, with their numbers. */
function ownersOf(messages: Value | undefined): ReadonlyMap<Value, number> {
  return new Map(Array.isArray(messages) ? messages.map((message, i) => [message, i]) : [])
}

/** @throws InputError naming the line of what does not parse */
export function jinjaTemplate(source: string): JinjaTemplate {
  const body: Execute = guarded(() => compileBody(parseTemplate(source)))
  let today: Date | undefined
  const known = new Scope(null)
  for (const [name, value] of globals(() => today ?? new Date())) known.set(name, value)

  const run = (variables: Readonly<Record<string, unknown>>, settings: RenderSettings) => {
    const { marks = null, traced = false } = settings
    const given = exactMembers(variables)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => [name, fromJson(value)] as const)
    const isTold = marks !== null || traced
    const owners = ownersOf(isTold ? new Map(given).get("messages") : undefined)
    const scope = new Scope(known, { marks, owners })
    for (const [name, value] of given) scope.set(name, value)
    const output = new Output(traced ? [] : null)
    body(scope, output)
    return { text: output.text, pieces: output.pieces ?? [] }
  }
  return {
    render(variables, settings = {}) {
      today = settings.now
      return guarded(() => withBudget(() => run(variables, settings)))
    },
  }
}
