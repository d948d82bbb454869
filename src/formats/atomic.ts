import { randomBytes } from "node:crypto"
import { type FileHandle, mkdir, open, rename, rm } from "node:fs/promises"
import { basename, dirname, join } from "node:path"
import { InputError } from "../errors.ts"

const HINTS: Readonly<Record<string, string>> = {
  ENOSPC: "the disk is full; free some space or choose another folder",
  EDQUOT: "the disk quota is used up; free some space or choose another folder",
  EACCES: "no permission to write there; choose another folder",
  EPERM: "no permission to write there; choose another folder",
  EROFS: "the file system is read-only; choose another folder",
  ENOTDIR: "a part of the path is a file, not a folder",
  EISDIR: "a folder of that name is in the way",
}

/** Turns what the file system says into something the user can act on; other errors pass through. */
export function writeError(error: unknown, path: string): unknown {
  const hint = HINTS[(error as NodeJS.ErrnoException | null)?.code ?? ""]
  return hint === undefined
    ? error
    : new InputError(`cannot write ${path}: ${hint}`, { cause: error })
}

/** Flushes a folder's entries, so that a rename in it survives a power cut (not on Windows, where a folder cannot be opened). */
export async function flushFolder(folder: string): Promise<void> {
  if (process.platform === "win32") return
  const handle = await open(folder, "r")
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/**
 * Lets `write` fill a temporary file beside `path`, flushes it, and renames it into place: a reader
 * sees the old file or the whole new one. Makes missing folders. On failure nothing is left behind.
 *
 * @throws InputError when the disk is full or the place cannot be written.
 */
export async function replaceFile(
  path: string,
  write: (handle: FileHandle) => Promise<void>,
): Promise<void> {
  const folder = dirname(path)
  const temporary = join(
    folder,
    `.${basename(path)}.${process.pid}.${randomBytes(4).toString("hex")}.tmp`,
  )
  try {
    await mkdir(folder, { recursive: true })
    const handle = await open(temporary, "wx")
    try {
      await write(handle)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, path)
    await flushFolder(folder)
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined)
    throw writeError(error, path)
  }
}

/**
 * Writes a whole file atomically (see {@link replaceFile}).
 *
 * @param data text (as UTF-8) or bytes.
 * @throws InputError when the disk is full or the place cannot be written.
 */
export async function writeFileAtomic(path: string, data: string | Uint8Array): Promise<void> {
  await replaceFile(path, (handle) => handle.writeFile(data))
}
