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
const REFUSED: ReadonlyMap<string, RegExp> = new Map([
  ["'a'.encode()", /attribute 'encode' of a str is not supported/],
  ["'\\N{BULLET}'", /escape \\N in a string/],
  ["{'a': 1}|xmlattr", /filter 'xmlattr' is not supported/],
  ["'a b'|urlencode", /filter 'urlencode' is not supported/],
  ["block", /line 1: the tag 'block' is not supported/],
])

function outcome(template: string): string | null {
  try {
    return jinjaTemplate(template).render(golden.variables, { now }).text
  } catch (error) {
    expect(error).toBeInstanceOf(InputError)
    return null
  }
}

describe("every template renders as Jinja2 renders it, or is refused where that raises", () => {
  test.each(golden.cases)("$name", ({ name, template, rendered }) => {
    const refusal = REFUSED.get(name)
    if (refusal !== undefined) {
      expect(() => jinjaTemplate(template).render(golden.variables, { now }).text).toThrow(refusal)
    } else expect(outcome(template)).toBe(rendered)
  })
})

/** Templates that would take all memory or never end (a stranger's folder holds one). */
const BOMBS: ReadonlyMap<string, string> = new Map([
  [
    "doubles a text",
    "{% set ns = namespace(t='x' * 64) %}{% for i in range(40) %}{% set ns.t = ns.t + ns.t %}{% endfor %}{{ ns.t[0] }}",
  ],
  [
    "replaces by more",
    "{% set ns = namespace(t='xx') %}{% for i in range(99) %}{% set ns.t = ns.t|replace('x', 'xx') %}{% endfor %}",
  ],
  [
    "lists of ranges",
    "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = ns.l + [range(99999)|list] %}{% endfor %}",
  ],
  [
    "doubles a list",
    "{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l %}{% endfor %}",
  ],
  [
    "nested loops",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% set x = i %}{% endfor %}{% endfor %}",
  ],
  ["repeats", "{{ 'x' * 10 ** 12 }}"],
  ["a wide field", "{{ '%999999999d' % 1 }}"],
  ["a wide format", "{{ '{:>999999999}'.format('a') }}"],
  ["a wide centre", "{{ 'a'|center(10 ** 10) }}"],
  ["a wide indent", "{{ 'a'|indent(10 ** 10) }}"],
  ["a deep indent", "{{ [[1]]|tojson(indent=10 ** 10) }}"],
  ["tabs", "{{ '\t'.expandtabs(10 ** 10) }}"],
  ["a power", "{{ 10 ** (10 ** 10) }}"],
  [
    "powers of powers",
    "{% set ns = namespace(n=3) %}{% for i in range(99) %}{% set ns.n = ns.n * ns.n %}{% endfor %}",
  ],
  ["a macro without end", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"],
  ["a loop without end", "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}"],
  ["a namespace in itself", "{% set n = namespace() %}{% set n.n = n %}{{ n }}"],
  ["parentheses", `{{ ${"(".repeat(100_000)}1${")".repeat(100_000)} }}`],
  [
    "writes without end",
    "{% set x = 'y' * 10 ** 6 %}{% for i in range(99999) %}{{ x }}{% endfor %}",
  ],
  ["joins", "{{ (['x' * 10 ** 6] * 10 ** 5)|join(',') }}"],
  ["prints a list", "{{ ['x' * 10 ** 6] * 10 ** 5 }}"],
  ["a range", "{{ range(10 ** 12) }}"],
])

test.each([...BOMBS])("a template that %s is stopped", (_, template) => {
  expect(() => jinjaTemplate(template).render({})).toThrow(InputError)
})
