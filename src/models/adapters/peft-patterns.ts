import { InputError } from "../../errors.ts"

/** How PEFT says which modules are meant: names, or one regular expression for the whole path. */
export type ModuleNames = string | readonly string[]

/**
 * Whether a Python regular expression of a config matches a whole text.
 * @throws InputError where JavaScript does not read it
 */
function isWholeMatch(pattern: string, text: string, where: string): boolean {
  const shown = JSON.stringify(pattern.length > MAX_SHOWN ? pattern.slice(0, MAX_SHOWN) : pattern)
  try {
    return new RegExp(`^(?:${pattern})$`).test(text)
  } catch {
    // some are refused when they are first used: "regular expression too large"
    throw new InputError(`${where}: ${shown} is no regular expression that can be used`)
  }
}

const MAX_SHOWN = 200

/** PEFT's rule: a regular expression matches the whole path, a name its end from a dot on. */
export function namesModule(names: ModuleNames, path: string, where: string): boolean {
  if (typeof names === "string") return isWholeMatch(names, path, where)
  return names.some((name) => path === name || path.endsWith(`.${name}`))
}

/**
 * Whether a regular expression matches a run of whole parts of a tensor's name: `layers.[0-3]` all
 * of four layers.
 */
export function namesTensor(pattern: string, name: string, where: string): boolean {
  return isWholeMatch(`(?:.*\\.)?(?:${pattern})(?:\\..*)?`, name, where)
}

/** The value of the first pattern that matches the path's end (PEFT's `get_pattern_key`). */
export function patternValue(
  patterns: Readonly<Record<string, number>>,
  path: string,
  where: string,
): number | undefined {
  const found = Object.entries(patterns).find(([pattern]) =>
    isWholeMatch(`(?:.*\\.)?(?:${pattern})`, path, where),
  )
  return found?.[1]
}
