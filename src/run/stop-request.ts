/** Asking a run that another process makes for a checkpoint and its end. */
import { existsSync, rmSync } from "node:fs"
import { join } from "node:path"
import { replaceFileNow } from "../formats/atomic.ts"
import { STOP_FILE } from "./run-files.ts"
import { lockHolder } from "./run-lock.ts"

const LOOK_EVERY_MS = 250

/**
 * Aborts when somebody asks; an older request is not meant for this run. Only its lock's holder
 * calls it.
 */
export function stopRequest(folder: string): {
  readonly signal: AbortSignal
  readonly release: () => void
} {
  const path = join(folder, STOP_FILE)
  rmSync(path, { force: true })
  const asked = new AbortController()
  const look = setInterval(() => {
    if (existsSync(path)) asked.abort()
  }, LOOK_EVERY_MS)
  const release = () => {
    clearInterval(look)
    rmSync(path, { force: true })
  }
  return { signal: asked.signal, release }
}

/**
 * Asks whoever writes this folder to stop; by a file, for a process id in a folder may be
 * anybody's. A run that is only just starting clears the file, so it is made again until the run
 * has ended.
 *
 * @returns false where nobody writes it
 */
export function requestStop(folder: string): boolean {
  const path = join(folder, STOP_FILE)
  const ask = () => {
    const isWritten = lockHolder(folder) !== undefined
    if (isWritten) replaceFileNow(path, "")
    else rmSync(path, { force: true })
    return isWritten
  }
  if (!ask()) return false
  const again = setInterval(() => {
    if (!ask()) clearInterval(again)
  }, 4 * LOOK_EVERY_MS).unref()
  return true
}
