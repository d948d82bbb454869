/** Follows an events.jsonl that another process writes. */
import { closeSync, existsSync, openSync, readSync } from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"
import type { RunEvent } from "../../run/events.ts"
import { parseEvents } from "../../run/run-folder.ts"

const POLL_MS = 100

/** The events appended from byte `from` on, until `ended` says that no more come and all are read. */
export async function* followEvents(
  path: string,
  { from = 0, ended }: { from?: number; ended: () => boolean },
): AsyncGenerator<RunEvent> {
  let at = from
  let rest = Buffer.alloc(0)
  for (;;) {
    const last = ended() // asked before reading: what was written before the end is read after it
    const added = readFrom(path, at)
    at += added.length
    rest = Buffer.concat([rest, added])
    const whole = rest.lastIndexOf(0x0a) + 1
    yield* parseEvents(rest.subarray(0, whole).toString("utf8")).events
    rest = rest.subarray(whole)
    if (last && added.length === 0) return
    if (added.length === 0) await sleep(POLL_MS)
  }
}

function readFrom(path: string, at: number): Buffer<ArrayBuffer> {
  if (!existsSync(path)) return Buffer.alloc(0)
  const file = openSync(path, "r")
  try {
    const part = Buffer.alloc(1 << 20)
    return part.subarray(0, readSync(file, part, 0, part.length, at))
  } finally {
    closeSync(file)
  }
}
