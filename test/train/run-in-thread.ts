import type { Config } from "../../src/config/index.ts"
import type { RunEvent } from "../../src/run/events.ts"
import { type RunResult, runHere } from "../../src/train/run.ts"

/** A whole run in this thread: a worker of its own takes seconds to start. */
export async function ran(config: Config): Promise<RunResult & { readonly events: RunEvent[] }> {
  const run = runHere(config)
  const events: RunEvent[] = []
  for (;;) {
    const next = await run.next()
    if (next.done) return { ...next.value, events }
    events.push(next.value)
  }
}
