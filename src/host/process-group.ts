import type { ChildProcess } from "node:child_process"

/**
 * Signals a process that was started `detached`, and all that it started; one that has ended is
 * left.
 */
export function killGroup(child: ChildProcess, signal: NodeJS.Signals = "SIGKILL"): void {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, signal)
  } catch {
    child.kill(signal) // no group of its own (Windows), or it has ended by itself
  }
}
