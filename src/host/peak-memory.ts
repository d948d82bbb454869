import { readFileSync } from "node:fs"

/**
 * Bytes that this process has held at most. `getrusage` alone also tells what the process that
 * started it held, on Linux: a small one that a large one starts would look as large.
 */
export function peakMemory(): number {
  const rusage = process.resourceUsage().maxRSS * 1024
  if (process.platform !== "linux") return rusage
  try {
    const status = readFileSync("/proc/self/status", "utf8")
    const [, kilobytes] = /^VmHWM:\s+(\d+) kB/m.exec(status) ?? []
    return kilobytes === undefined ? rusage : 1024 * Number(kilobytes)
  } catch {
    return rusage // no /proc
  }
}
