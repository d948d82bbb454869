/** Follows an events.jsonl that another process writes. */
import { closeSync, existsSync, fstatSync, openSync, readSync } from "node:fs"
import { setTimeout as sleep } from "node:timers/promises"
import type { RunEvent } from "../../run/events.ts"
import { parseEvents } from "../../run/run-folder.ts"

const POLL_MS = 100

/**
 * The events appended from byte `from` on, until `ended` says that no more come and all are read.
 * A run that is resumed meanwhile puts another file in the place of this one: then a `reset`
 * comes, and after it the events of the new file from its beginning.
 */
export async function* followEvents(
  path: string,
  { from = 0, ended }: { from?: number; ended: () => boolean },
): AsyncGenerator<RunEvent> {
  let at = from
  let rest = Buffer.alloc(0)
  let inode: bigint | undefined
  for (;;) {
    const last = ended() // asked before reading: what was written before the end is read after it
    const { added, node, size } = readFrom(path, at)
    if (node !== undefined && ((inode ?? node) !== node || size < at)) {
      yield { type: "reset", time: new Date().toISOString(), step: 0 }
      at = 0
      rest = Buffer.alloc(0)
      inode = node
      continue
    }
    inode ??= node
    at += added.length
    rest = Buffer.concat([rest, added])
    const whole = rest.lastIndexOf(0x0a) + 1
    yield* parseEvents(rest.subarray(0, whole).toString("utf8")).events
    rest = rest.subarray(whole)
    if (last && added.length === 0) return
    if (added.length === 0) await sleep(POLL_MS)
  }
}

function readFrom(path: string, at: number) {
  if (!existsSync(path)) return { added: Buffer.alloc(0), node: undefined, size: 0 }
  const file = openSync(path, "r")
  try {
    const { ino: node, size } = fstatSync(file, { bigint: true })
    const part = Buffer.alloc(1 << 20)
    const added = part.subarray(0, readSync(file, part, 0, part.length, at))
    return { added, node, size: Number(size) }
  } finally {
    closeSync(file)
  }
}
