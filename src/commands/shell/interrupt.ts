import { say } from "./terminal.ts"

let interrupted = false

/** Whether Ctrl-C (or SIGTERM) stopped something since the process began. */
export function wasInterrupted(): boolean {
  return interrupted
}

/**
 * Runs `work` with a signal that the first Ctrl-C aborts; the second ends the process at once.
 * `stopping` says what the first one leads to. The process then exits with 130.
 */
export async function interruptible<T>(
  work: (signal: AbortSignal) => Promise<T>,
  { stopping = "stopping" }: { stopping?: string } = {},
): Promise<T> {
  const controller = new AbortController()
  const onSignal = () => {
    if (controller.signal.aborted) process.exit(130)
    interrupted = true
    say(`\n${stopping}; Ctrl-C again stops now`)
    controller.abort()
  }
  process.on("SIGINT", onSignal)
  process.on("SIGTERM", onSignal)
  try {
    return await work(controller.signal)
  } finally {
    process.off("SIGINT", onSignal)
    process.off("SIGTERM", onSignal)
  }
}
