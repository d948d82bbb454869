import { InputError } from "../../errors.ts"

/** How PEFT says which modules are meant: names, or one regular expression for the whole path. */
export type ModuleNames = string | readonly string[]

/**
 * A Python regular expression of a config, for a whole text.
 * @throws InputError where JavaScript does not read it
 */
function wholeMatch(pattern: string, where: string): RegExp {
  try {
    return new RegExp(`^(?:${pattern})$`)
  } catch {
    throw new InputError(`${where}: ${JSON.stringify(pattern)} is no regular expression`)
  }
}

/** PEFT's rule: a regular expression matches the whole path, a name its end from a dot on. */
export function namesModule(names: ModuleNames, path: string, where: string): boolean {
  if (typeof names === "string") return wholeMatch(names, where).test(path)
  return names.some((name) => path === name || path.endsWith(`.${name}`))
}

/** Whether a regular expression matches a run of whole parts of a tensor's name: `layers.[0-3]` all of four layers. */
export function namesTensor(pattern: string, name: string, where: string): boolean {
  return wholeMatch(`(?:.*\\.)?(?:${pattern})(?:\\..*)?`, where).test(name)
}

/** The value of the first pattern that matches the path's end (PEFT's `get_pattern_key`). */
export function patternValue(
  patterns: Readonly<Record<string, number>>,
  path: string,
  where: string,
): number | undefined {
  const found = Object.entries(patterns).find(([pattern]) =>
    wholeMatch(`(?:.*\\.)?(?:${pattern})`, where).test(path),
  )
  return found?.[1]
}
