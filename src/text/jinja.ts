import { Environment, Interpreter, parse, Template, tokenize } from "@huggingface/jinja"

/** A template comes from a stranger's folder: its loops end, whatever they say. */
const MAX_STEPS = 1_000_000
const MAX_RANGE = 1_000_000

/** What is used of the library's own types, which its declarations do not carry over. */
export interface JinjaNode {
  readonly type: string
}
export interface JinjaValue {
  readonly type: string
  readonly value: unknown
  __bool__(): { readonly value: boolean }
  toString(): string
}
export interface JinjaScope {
  set(name: string, value: unknown): JinjaValue
  lookupVariable(name: string): JinjaValue
}
export interface JinjaInterpreter {
  evaluate(node: JinjaNode | undefined, scope: JinjaScope): JinjaValue
  run(program: JinjaNode): JinjaValue
}
export type JinjaVariables = Readonly<Record<string, unknown>>

/** An interpreter that counts what it evaluates, and stops a template that does not come to an end. */
export function boundedInterpreter(environment: JinjaScope): JinjaInterpreter {
  const interpreter: JinjaInterpreter = new Interpreter(environment)
  const evaluate = interpreter.evaluate.bind(interpreter)
  let steps = 0
  interpreter.evaluate = (node, scope) => {
    if (++steps > MAX_STEPS) throw new Error(`it goes on after ${MAX_STEPS} steps`)
    return evaluate(node, scope)
  }
  return interpreter
}

function boundedRange(first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second]
  const count = Math.max(0, Math.ceil((stop - start) / step))
  if (!(count <= MAX_RANGE)) throw new Error(`range() of more than ${MAX_RANGE} numbers`)
  return Array.from({ length: count }, (_, i) => start + i * step)
}

export const strftimeNow = (format: string): string =>
  new Template("{{ strftime_now(format) }}").render({ format })

/** What a template sees: the functions that Transformers gives to templates, and `variables`. */
export function jinjaEnvironment(variables: JinjaVariables): JinjaScope {
  const environment: JinjaScope = new Environment()
  const all = {
    ...{ true: true, false: false, none: null, True: true, False: false, None: null },
    range: boundedRange,
    strftime_now: strftimeNow,
    raise_exception: (message: string) => {
      throw new Error(message)
    },
    ...variables,
  }
  for (const [name, value] of Object.entries(all)) environment.set(name, value)
  return environment
}

/**
 * Parses a chat template with Transformers' options (`trim_blocks`, `lstrip_blocks`).
 *
 * @throws Error of the library's when the source does not parse.
 */
export function parseJinja(source: string): JinjaNode {
  return parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }))
}

/**
 * Renders a parsed template.
 *
 * @throws Error of the library's when rendering fails or does not come to an end.
 */
export function renderJinja(program: JinjaNode, variables: JinjaVariables): string {
  return String(boundedInterpreter(jinjaEnvironment(variables)).run(program).value)
}
