import { InputError } from "../errors.ts"

interface Bound {
  readonly least: number
  readonly most?: number
  readonly whole?: true
}

/** What a program may ask for; the command line's options have the same bounds. */
const BOUNDS: Readonly<Record<string, Bound>> = {
  n: { least: 1, whole: true },
  seeds: { least: 1, most: 100, whole: true },
  seed: { least: 0, whole: true },
  temperature: { least: 0, most: 100 },
  topP: { least: 1e-9, most: 1 },
  topK: { least: 1, whole: true },
  minP: { least: 0, most: 1 },
  repetitionPenalty: { least: 0.01, most: 100 },
  maxNewTokens: { least: 1, whole: true },
  concurrency: { least: 1, whole: true },
  threads: { least: 1, whole: true },
  limit: { least: 1, whole: true },
  maxLength: { least: 2, whole: true },
  maxPerPrompt: { least: 1, whole: true },
}

/** @throws InputError naming the option that is none of its words */
export function checkWord(name: string, value: unknown, allowed: readonly string[]): void {
  if (value === undefined || allowed.some((word) => word === value)) return
  throw new InputError(`${name}: expected ${allowed.join(", ")}, got ${JSON.stringify(value)}`)
}

/** @throws InputError naming the option that is out of its bounds */
export function checkBounds(options: object): void {
  for (const [name, value] of Object.entries(options)) {
    const bound = Object.hasOwn(BOUNDS, name) ? BOUNDS[name] : undefined
    if (bound === undefined || value === undefined) continue
    const { least, most = Number.POSITIVE_INFINITY, whole = false } = bound
    const fits = typeof value === "number" && value >= least && value <= most
    if (fits && (!whole || Number.isSafeInteger(value))) continue
    const kind = whole ? "a whole number" : "a number"
    const range = Number.isFinite(most) ? `${least} to ${most}` : `${least}`
    throw new InputError(`${name}: expected ${kind} from ${range}, got ${String(value)}`)
  }
}
