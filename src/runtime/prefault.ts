import koffi from "koffi"
import { fromGlibc, MADVISE } from "./libc.ts"

/** Linux 5.14's madvise(2): make these pages writable now. */
const MADV_POPULATE_WRITE = 23
const PAGE_BYTES = 4096
/** Below this the call costs more than the page faults. */
const LEAST_BYTES = 2 ** 20

type Madvise = {
  async: (start: bigint, bytes: number, advice: number, done: () => void) => void
}
let madvise: Madvise | null | undefined

/**
 * Has the kernel make an array's pages on another thread, while this one fills it from the front:
 * fresh memory costs a fault a page otherwise, which takes longer than reading a file into it. Only
 * a matter of speed; where the system knows no such call nothing happens.
 */
export function prefault({ buffer, byteOffset, byteLength }: ArrayBufferView): Promise<void> {
  if (byteLength < LEAST_BYTES) return Promise.resolve()
  madvise ??= fromGlibc((libc) => libc.func(MADVISE) as unknown as Madvise)
  if (!madvise) return Promise.resolve() // pages are then made one by one, as they are written
  const { async: call } = madvise
  const begin = koffi.address(buffer) + BigInt(byteOffset)
  const start = begin - (begin % BigInt(PAGE_BYTES)) + BigInt(PAGE_BYTES)
  const bytes = byteLength - 2 * PAGE_BYTES
  return new Promise((resolve) => call(start, bytes, MADV_POPULATE_WRITE, resolve))
}
