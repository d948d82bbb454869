import { readFileSync } from "node:fs"

/**
 * The words that a process was started with; undefined where this system does not tell (it is told
 * on Linux) or there is no such process. A number alone may be another program's by now.
 */
export function processWords(pid: number): string[] | undefined {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").slice(0, -1)
  } catch {
    return undefined
  }
}
