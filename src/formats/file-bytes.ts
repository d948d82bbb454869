import type { FileHandle } from "node:fs/promises"
import { InputError } from "../errors.ts"

/** One call, below the 2 GB that a single call can move. */
const MAX_CALL = 1 << 30

/**
 * Fills `target` from a place in a file.
 *
 * @throws InputError naming the file when it ends before
 */
export async function readInto(
  handle: FileHandle,
  target: Uint8Array,
  position: number,
  path: string,
): Promise<void> {
  let done = 0
  while (done < target.length) {
    const length = Math.min(MAX_CALL, target.length - done)
    const { bytesRead } = await handle.read(target, done, length, position + done)
    if (bytesRead === 0) throw new InputError(`${path}: the file ended while it was read`)
    done += bytesRead
  }
}

/** Writes all bytes where the handle stands. */
export async function writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const length = Math.min(MAX_CALL, bytes.length - done)
    done += (await handle.write(bytes, done, length)).bytesWritten
  }
}
