import { createInterface } from "node:readline/promises"
import type { Approve } from "../../config/run-record.ts"

/** Yes to all under `--allow-code`, a question on a terminal, and no elsewhere. */
export function approval(all: boolean): Approve | undefined {
  if (all) return async () => true
  if (!process.stdin.isTTY || !process.stderr.isTTY) return undefined
  return async (question) => {
    const lines = createInterface({ input: process.stdin, output: process.stderr })
    try {
      return /^y(es)?$/i.test((await lines.question(`${question} [y/N] `)).trim())
    } finally {
      lines.close()
    }
  }
}
