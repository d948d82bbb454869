/** The words of a command line in the order that commander needs. */

import { isRunFolder } from "../../config/run-record.ts"

const CONFIG_FILE = /\.(ya?ml|json|[cm]?[jt]s)$/i
const SETTING = /^[^=\s]+=/

/**
 * Whether the word after `--resume` is the config (or the run folder in its place), no checkpoint:
 * also where it is the only word that could be, there or not.
 */
function isConfig(word: string, words: readonly string[]): boolean {
  if (CONFIG_FILE.test(word)) return true
  if (words.some((other) => CONFIG_FILE.test(other))) return false
  const isOption = (other: string) => other.startsWith("-") || SETTING.test(other)
  const [, ...others] = words.filter((other) => other !== word && !isOption(other))
  return isRunFolder(word) || (words[0] === "train" && others.length === 0)
}

/** Settings among words that were too many: `train c.yaml seed=1`, `--set a=1 --json b=2`. */
export const strayedSettings = (words: readonly string[]): string[] =>
  inAnyOrder(words).filter((word, i, all) => /^[a-z][\w.]*=/.test(word) && all[i - 1] !== "--set")

/**
 * `--set` takes all the settings behind it, and neither it nor `--resume` takes the config: so
 * `train --set a=1 b=2 c.yaml`, `train --resume c.yaml` and `train c.yaml --set a=1 --set b=2` are
 * all understood. Words after `--` are left as they are.
 */
export function inAnyOrder(words: readonly string[]): string[] {
  const end = words.indexOf("--")
  const own = end < 0 ? words : words.slice(0, end)
  const ordered: string[] = []
  const last: string[] = []
  for (let i = 0; i < own.length; i++) {
    const word = own[i]!
    const next = own[i + 1]
    if (word === "--set" && next !== undefined && SETTING.test(next)) {
      while (i + 1 < own.length && SETTING.test(own[i + 1]!)) ordered.push("--set", own[++i]!)
    } else if (word === "--resume" && next !== undefined && isConfig(next, own)) {
      last.push(word)
    } else {
      ordered.push(word)
    }
  }
  return [...ordered, ...last, ...(end < 0 ? [] : words.slice(end))]
}
