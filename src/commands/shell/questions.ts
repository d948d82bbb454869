import { createInterface } from "node:readline/promises"

export interface Questions {
  readonly ask: (question: string, signal?: AbortSignal) => Promise<string>
  readonly close: () => void
}

/**
 * Questions on the terminal. readline takes Ctrl-C for itself and leaves a question open for ever
 * after Ctrl-D: both end the verb here, as a signal does.
 */
export function questions(): Questions {
  const lines = createInterface({ input: process.stdin, output: process.stderr })
  const over = new AbortController()
  const end = () => {
    lines.off("close", end)
    if (!process.emit("SIGINT", "SIGINT")) process.exit(130)
    over.abort()
  }
  lines.once("SIGINT", end)
  lines.once("close", end)
  return {
    ask: (question, signal) =>
      lines.question(question, {
        signal: signal === undefined ? over.signal : AbortSignal.any([signal, over.signal]),
      }),
    close: () => {
      lines.off("close", end)
      lines.close()
    },
  }
}
