import { readFileSync } from "node:fs"
import { describe, expect, test } from "vitest"
import { InputError } from "../../src/errors.ts"
import { parseExactJson } from "../../src/formats/exact-json.ts"
import { jinjaTemplate } from "../../src/text/jinja/template.ts"

interface Golden {
  readonly variables: Record<string, unknown>
  readonly clock: string
  readonly cases: readonly {
    readonly name: string
    readonly template: string
    readonly rendered: string | null
  }[]
}
const golden = parseExactJson(
  readFileSync(new URL("../../golden/text/jinja.json", import.meta.url), "utf8"),
) as Golden
const now = new Date(golden.clock)

/** What is refused by name though Jinja2 renders it. */
const REFUSED: ReadonlyMap<string, RegExp> = new Map([])

function outcome(template: string): string | null {
  try {
    return jinjaTemplate(template).render(golden.variables, { now })
  } catch (error) {
    expect(error).toBeInstanceOf(InputError)
    return null
  }
}

describe("every template renders as Jinja2 renders it, or is refused where that raises", () => {
  test.each(golden.cases)("$name", ({ name, template, rendered }) => {
    const refusal = REFUSED.get(name)
    if (refusal !== undefined) {
      expect(() => jinjaTemplate(template).render(golden.variables, { now })).toThrow(refusal)
    } else expect(outcome(template)).toBe(rendered)
  })
})
