/** Holds the library to what it promises: it prints nothing and leaves the process as it was. */
import { expect, vi } from "vitest"

const SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"] as const

/**
 * All but what keeps ONNX Runtime from calling home, set before it is loaded
 * (src/host/no-telemetry.ts).
 */
function environment() {
  const { ORT_DISABLE_TELEMETRY: _, ...env } = process.env
  return env
}

const state = () => ({
  cwd: process.cwd(),
  env: environment(),
  console: globalThis.console,
  exitCode: process.exitCode,
  listeners: SIGNALS.map((signal) => process.listeners(signal)),
  caught: ["uncaughtException", "unhandledRejection"].map((name) => process.listenerCount(name)),
})

/** What `work` gives, once it is sure that nobody was told of it and nothing was changed. */
export async function quietly<T>(work: () => Promise<T> | T): Promise<T> {
  const before = state()
  const watched = [
    vi.spyOn(process.stdout, "write"),
    vi.spyOn(process.stderr, "write"),
    vi.spyOn(process, "exit").mockImplementation((code) => {
      throw new Error(`process.exit(${code})`)
    }),
  ]
  try {
    const result = await work()
    for (const each of watched) expect(each.mock.calls).toEqual([])
    expect(state()).toEqual(before)
    return result
  } finally {
    for (const each of watched) each.mockRestore()
  }
}
