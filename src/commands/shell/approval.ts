import type { Approve } from "../../config/run-record.ts"
import { questions } from "./questions.ts"

/** Yes to all under `--allow-code`, a question on a terminal, and no elsewhere. */
export function approval(all: boolean): Approve | undefined {
  if (all) return async () => true
  if (!process.stdin.isTTY || !process.stderr.isTTY) return undefined
  return async (question) => {
    const { ask, close } = questions()
    try {
      return /^y(es)?$/i.test((await ask(`${question} [y/N] `)).trim())
    } finally {
      close()
    }
  }
}
