import { InputError } from "../../errors.ts"
import { exactMembers } from "../../formats/exact-json.ts"
import { withBudget } from "./budget.ts"
import { compileBody, type Execute } from "./compile.ts"
import { fromJson } from "./from-json.ts"
import { globals } from "./globals.ts"
import { parseTemplate } from "./parser.ts"
import { type Marks, Output, Scope } from "./scope.ts"

export interface RenderSettings {
  /** Written around what `{% generation %}` encloses; left out: nothing. */
  readonly marks?: Marks
  /** What `strftime_now` tells, in local time; left out: the clock. */
  readonly now?: Date
}

/** A chat template, as Jinja2 reads it under Transformers' settings. */
export interface JinjaTemplate {
  /** @throws InputError when Jinja2 would raise, when it is not supported here, or goes on for ever */
  render(variables: Readonly<Record<string, unknown>>, settings?: RenderSettings): string
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

/** @throws InputError naming the line of what does not parse */
export function jinjaTemplate(source: string): JinjaTemplate {
  const body: Execute = guarded(() => compileBody(parseTemplate(source)))
  let today: Date | undefined
  const outermost = new Scope(null)
  for (const [name, value] of globals(() => today ?? new Date())) outermost.set(name, value)
  return {
    render(variables, { marks, now } = {}) {
      today = now
      const scope = new Scope(outermost, marks ?? null)
      const output = new Output()
      guarded(() =>
        withBudget(() => {
          for (const [name, value] of exactMembers(variables)) {
            if (value !== undefined) scope.set(name, fromJson(value))
          }
          body(scope, output)
        }),
      )
      return output.text
    },
  }
}
