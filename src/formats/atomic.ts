import { createHash, randomBytes } from "node:crypto"
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs"
import { type FileHandle, mkdir, open, rename, rm } from "node:fs/promises"
import { hostname } from "node:os"
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
  EEXIST: "a file of that name is in the way",
  ENAMETOOLONG: "the name is too long for the file system; choose a shorter one",
  ELOOP: "its links lead in a circle",
  ENOENT: "its folder is not there and cannot be made (is the file system read-only?)",
  EMFILE: "too many files are open; raise the limit (ulimit -n)",
  ENFILE: "too many files are open on this machine",
  EFBIG: "the file would be larger than the file system or a limit (ulimit -f) allows",
  EIO: "the disk or its connection failed",
  ESTALE: "the network file system has lost the folder",
  ENOSYS: "the file system cannot do that; choose another folder",
  ENOTSUP: "the file system cannot do that; choose another folder",
}

/** What these mean where it is not known that something was to be written. */
const READING: Readonly<Record<string, string>> = {
  ENOENT: "is not there, or cannot be made there",
  EACCES: "no permission to use it",
  EPERM: "no permission to use it",
  EISDIR: "is a folder",
}

/**
 * Turns what the file system says into something the user can act on; other errors pass through,
 * and so does what is said already.
 */
export function writeError(error: unknown, path: string): unknown {
  if (error instanceof InputError) return error
  const hint = HINTS[(error as NodeJS.ErrnoException | null)?.code ?? ""]
  return hint === undefined
    ? error
    : new InputError(`cannot write ${path}: ${hint}`, { cause: error })
}

/**
 * Flushes a folder's entries, so that a rename in it survives a power cut (not on Windows, where a
 * folder cannot be opened).
 */
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
 * An error of the file system that nobody has put into words on its way, in words; undefined for
 * every other error.
 */
export function fileSystemError(error: unknown): InputError | undefined {
  const { code, syscall, path } = (error ?? {}) as NodeJS.ErrnoException
  const hint = READING[code ?? ""] ?? HINTS[code ?? ""]
  if (hint === undefined || syscall === undefined || error instanceof InputError) return undefined
  return new InputError(`${path ?? syscall}: ${hint} (${code}, ${syscall})`, { cause: error })
}

/** Makes a folder and those above it. */
export function makeFolder(path: string): void {
  try {
    mkdirSync(path, { recursive: true })
  } catch (error) {
    throw writeError(error, path)
  }
}

/** Writes all of it: one call may take less than it was given, without an error. */
export function writeWhole(file: number, data: string | Uint8Array): void {
  const bytes = typeof data === "string" ? Buffer.from(data) : data
  for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done)
}

/** A name beside `path` that says which process writes it, for `removeLeft`. */
export function temporaryName(path: string): string {
  const tag = `${process.pid}-${hostTag()}.${randomBytes(4).toString("hex")}`
  // a name may have 255 bytes: a long one is cut, and the rest keeps it apart
  return join(dirname(path), `.${shortened(basename(path))}.${tag}.tmp`)
}

const shortened = (name: string) =>
  Buffer.from(name)
    .subarray(0, 200)
    .toString()
    .replace(/\ufffd$/, "")

const hostTag = () => createHash("sha256").update(hostname()).digest("hex").slice(0, 6)

const ABANDONED_MS = 24 * 3600 * 1000

/**
 * Removes what killed processes left of writing `path`: this host's dead ones', and what is a day
 * old.
 */
export function removeLeft(path: string): void {
  const before = `.${shortened(basename(path))}.`
  for (const name of temporaryNames(dirname(path))) {
    if (!name.startsWith(before) || !TAG.test(name.slice(before.length - 1))) continue
    if (isLeft(join(dirname(path), name))) removeQuietly(join(dirname(path), name))
  }
}

/**
 * The same for everything in a folder in which dftune alone writes. A `.tmp` that names no process
 * (0.1.0 named no host) goes when it is a day old.
 */
export function removeAllLeft(folder: string): void {
  for (const name of temporaryNames(folder)) {
    if (isLeft(join(folder, name))) removeQuietly(join(folder, name))
  }
}

/** How the names of `temporaryName` end; those of 0.1.0 had no host. */
const TAG = /^\.(\d+)(?:-([0-9a-f]{6}))?\.[0-9a-f]{8}\.tmp$/

function temporaryNames(folder: string): string[] {
  try {
    return readdirSync(folder).filter((name) => name.endsWith(".tmp"))
  } catch {
    return [] // not there yet, or a folder that may be written and not read
  }
}

function isLeft(path: string): boolean {
  const [, pid, host] = /\.(\d+)-([0-9a-f]{6})\.[0-9a-f]{8}\.tmp$/.exec(basename(path)) ?? []
  if (host === hostTag() && !isAlive(Number(pid))) return true
  const { mtimeMs = Date.now() } = statSync(path, { throwIfNoEntry: false }) ?? {}
  return Date.now() - mtimeMs > ABANDONED_MS
}

function removeQuietly(path: string): void {
  try {
    rmSync(path, { recursive: true, force: true })
  } catch {
    // another user's: it is in nobody's way
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"
  }
}

/**
 * Replaces a file as `replaceFile` does, before it returns.
 *
 * @throws InputError when the disk is full or the place cannot be written
 */
export function replaceFileNow(path: string, data: string | Uint8Array): void {
  const temporary = temporaryName(path)
  try {
    mkdirSync(dirname(path), { recursive: true })
    removeLeft(path)
    const file = openSync(temporary, "wx")
    try {
      writeWhole(file, data)
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    renameSync(temporary, path)
  } catch (error) {
    rmSync(temporary, { force: true })
    throw writeError(error, path)
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
  const temporary = temporaryName(path)
  try {
    await mkdir(folder, { recursive: true })
    removeLeft(path)
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
