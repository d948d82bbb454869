import { Environment, Interpreter, parse, Template, tokenize } from "@huggingface/jinja"

/** A template comes from a stranger's folder: its loops end, whatever they say. */
const MAX_STEPS = 1_000_000
const MAX_RANGE = 1_000_000

/** An interpreter that counts what it evaluates, and stops a template that does not come to an end. */
function boundedInterpreter(environment: unknown) {
  const interpreter = new Interpreter(environment)
  const evaluate = interpreter.evaluate.bind(interpreter)
  let steps = 0
  interpreter.evaluate = (...args: unknown[]) => {
    if (++steps > MAX_STEPS) throw new Error(`it goes on after ${MAX_STEPS} steps`)
    return evaluate(...args)
  }
  return interpreter
}

function boundedRange(first: number, second?: number, step = 1): number[] {
  const [start, stop] = second === undefined ? [0, first] : [first, second]
  const count = Math.max(0, Math.ceil((stop - start) / step))
  if (!(count <= MAX_RANGE)) throw new Error(`range() of more than ${MAX_RANGE} numbers`)
  return Array.from({ length: count }, (_, i) => start + i * step)
}

const strftimeNow = (format: string): string =>
  new Template("{{ strftime_now(format) }}").render({ format })

/**
 * Compiles a chat template with Transformers' options (`trim_blocks`, `lstrip_blocks`) and the
 * functions that it gives to templates.
 *
 * @returns renders with the given variables.
 * @throws Error of the library's when the source does not parse, and rendering when it fails or
 *   does not come to an end.
 */
export function compileJinja(
  source: string,
): (variables: Readonly<Record<string, unknown>>) => string {
  const program = parse(tokenize(source, { lstrip_blocks: true, trim_blocks: true }))
  return (variables) => {
    const environment = new Environment()
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
    return String(boundedInterpreter(environment).run(program).value)
  }
}
