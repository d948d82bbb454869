import { readdirSync, readFileSync } from "node:fs"

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

/** Whether a process was started with words that end so; false where this system does not tell. */
export const endsWith = (pid: number, words: readonly string[]): boolean =>
  processWords(pid)?.slice(-words.length).join("\0") === words.join("\0")

/** A process that was started with words that end so; undefined where this system does not tell. */
export function processWith(words: readonly string[]): number | undefined {
  try {
    return readdirSync("/proc")
      .map(Number)
      .find((pid) => pid > 0 && endsWith(pid, words))
  } catch {
    return undefined
  }
}
