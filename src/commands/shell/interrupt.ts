import { needsNoTerminal } from "./output.ts"
import { say } from "./terminal.ts"

let interrupted = false

/** Whether Ctrl-C (or another signal) stopped something since the process began. */
export function wasInterrupted(): boolean {
  return interrupted
}

/**
 * What asks for an end: Ctrl-C; a scheduler; a terminal that is closed; what Slurm's --signal
 * usually names. Windows has the first three.
 */
const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"] as const
type Signal = (typeof SIGNALS)[number]

const heard = (): readonly Signal[] =>
  process.platform === "win32" ? SIGNALS.slice(0, 3) : SIGNALS

/** npm passes Ctrl-C on to a child that the terminal has told already: within this it is one. */
const ONCE_MS = 500

/**
 * Runs `work` with a signal that the first Ctrl-C aborts; the second ends the process at once.
 * `stopping` says what the first one leads to. The process then exits with 130. When a terminal is
 * closed that nobody needs (the output goes to files, as under nohup), the work goes on.
 */
export async function interruptible<T>(
  work: (signal: AbortSignal) => Promise<T>,
  { stopping = "stopping" }: { stopping?: string } = {},
): Promise<T> {
  const controller = new AbortController()
  let first = 0
  const onSignal = (signal: Signal) => {
    if (signal === "SIGHUP" && needsNoTerminal()) {
      say("the terminal was closed; going on")
    } else if (!controller.signal.aborted) {
      first = Date.now()
      interrupted = true
      say(`\n${stopping}${signal === "SIGINT" ? "; Ctrl-C again stops now" : ` (${signal})`}`)
      controller.abort()
    } else if (signal === "SIGINT" && Date.now() - first > ONCE_MS) {
      process.exit(130)
    }
  }
  for (const signal of heard()) process.on(signal, onSignal)
  try {
    return await work(controller.signal)
  } finally {
    for (const signal of heard()) process.off(signal, onSignal)
  }
}
