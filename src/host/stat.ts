import { type Stats, statSync } from "node:fs"
import { InputError } from "../errors.ts"

const WRONG: Readonly<Record<string, string>> = {
  ENAMETOOLONG: "the name is too long",
  ELOOP: "its links lead in a circle",
  EACCES: "no permission to look there",
  ERR_INVALID_ARG_VALUE: "is no path",
}
const MAX_SHOWN = 200

/**
 * What stands at a path that a user or a file named; undefined where nothing does.
 *
 * @throws InputError for a name that no file can have, and where one may not look
 */
export function statOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false })
  } catch (error) {
    const why = WRONG[String((error as NodeJS.ErrnoException).code)]
    if (why === undefined) throw error
    const shown = path.length > MAX_SHOWN ? `${path.slice(0, MAX_SHOWN)}...` : path
    throw new InputError(`${shown.includes("\0") ? JSON.stringify(shown) : shown}: ${why}`)
  }
}
