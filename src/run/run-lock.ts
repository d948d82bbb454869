import { randomUUID } from "node:crypto"
import {
  existsSync,
  linkSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs"
import { hostname } from "node:os"
import { join } from "node:path"
import { InputError } from "../errors.ts"
import { writeError } from "../formats/atomic.ts"
import { isObject } from "../formats/json.ts"
import { jsonOfFile } from "../formats/plain-file.ts"

export const LOCK_FILE = "run.lock"
/** The holder touches its lock this often; another host calls it dead after eight misses. */
const TOUCH_EVERY_MS = 15_000
const DEAD_AFTER_MS = 120_000

export interface LockOwner {
  readonly pid: number
  readonly host: string
}

const held = new Set<string>()

/** The process that writes a run's folder now; undefined where none does. */
export function lockHolder(folder: string): LockOwner | undefined {
  const path = join(folder, LOCK_FILE)
  const owner = lockOwner(path)
  return owner && isAlive(owner, path, path) ? owner : undefined
}

/**
 * Refuses a folder that a process is writing, before anything in it is read: a checkpoint may be
 * taken away meanwhile.
 *
 * @throws InputError naming the process
 */
export function refuseRunning(folder: string): void {
  const path = join(folder, LOCK_FILE)
  refuseLiving(path, path, folder)
}

/** Whether a process that is gone had a folder's lock. */
export const isLeftLocked = (folder: string): boolean =>
  existsSync(join(folder, LOCK_FILE)) && lockHolder(folder) === undefined

/**
 * Takes a folder's lock; returns what gives it back. The lock of a process that is gone is taken
 * over. Throws an `InputError` when another process (or this one) holds it.
 */
export function lockFolder(folder: string): () => void {
  const path = join(folder, LOCK_FILE)
  const mine = `${path}.${randomUUID()}`
  try {
    writeFileSync(mine, JSON.stringify({ pid: process.pid, host: hostname() } satisfies LockOwner))
  } catch (error) {
    rmSync(mine, { force: true })
    throw writeError(error, path)
  }
  try {
    if (!tryLink(mine, path)) {
      setAside(path, folder)
      if (!tryLink(mine, path)) {
        throw new InputError(`${folder}: another process has just started writing this run`)
      }
    }
  } finally {
    rmSync(mine, { force: true })
  }
  held.add(path)
  const touch = setInterval(() => {
    if (existsSync(path)) utimesSync(path, new Date(), new Date())
  }, TOUCH_EVERY_MS).unref()
  return () => {
    clearInterval(touch)
    held.delete(path)
    rmSync(path, { force: true })
  }
}

/** What file systems without hard links say: exFAT, Google Drive in Colab, gcsfuse. */
const NO_LINKS: ReadonlySet<string | undefined> = new Set(
  "EPERM ENOSYS ENOTSUP EOPNOTSUPP EMLINK EINVAL EACCES EIO".split(" "),
)

/**
 * A hard link is made only if the name is free, and brings its content with it. Where there are
 * none the file is created only if the name is free, and filled; until then it is nobody's.
 */
function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to)
    return true
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === "EEXIST") return false
    if (!NO_LINKS.has(code)) throw writeError(error, to)
  }
  try {
    writeFileSync(to, readFileSync(from), { flag: "wx" })
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return false
    throw writeError(error, to)
  }
}

/** Moves a dead process's lock out of the way; throws when its holder lives. */
function setAside(path: string, folder: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory())
    throw new InputError(`${path}: a folder of that name is in the way; remove it`)
  refuseLiving(path, path, folder)
  const aside = `${path}.${randomUUID()}`
  try {
    renameSync(path, aside)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return
    throw error
  }
  try {
    refuseLiving(aside, path, folder)
  } catch (error) {
    tryLink(aside, path) // between the look and the move somebody else took it: give it back
    throw error
  } finally {
    rmSync(aside, { force: true })
  }
}

function refuseLiving(file: string, path: string, folder: string): void {
  const owner = lockOwner(file)
  if (owner === undefined) {
    if (isBeingFilled(file)) {
      throw new InputError(`${folder}: another process has just started writing this run`)
    }
    return
  }
  if (!isAlive(owner, file, path)) return
  throw new InputError(
    `${folder}: process ${owner.pid} on ${owner.host} is writing this run; wait for it, or give another output_dir (if it is gone, remove ${path})`,
  )
}

/** An empty lock of this age belongs to a process that is just filling it. */
const FILLING_MS = 5000

function isBeingFilled(file: string): boolean {
  const there = statSync(file, { throwIfNoEntry: false })
  return there !== undefined && there.size === 0 && Date.now() - there.mtimeMs < FILLING_MS
}

function lockOwner(path: string): LockOwner | undefined {
  const owner = jsonOfFile(path) // of what was just removed, or is nobody's, none
  if (!isObject(owner) || typeof owner.pid !== "number" || typeof owner.host !== "string")
    return undefined
  return Number.isInteger(owner.pid) ? { pid: owner.pid, host: owner.host } : undefined
}

function isAlive({ pid, host }: LockOwner, file: string, path: string): boolean {
  if (host !== hostname()) {
    const there = statSync(file, { throwIfNoEntry: false }) // none: given back just now
    return there !== undefined && Date.now() - there.mtimeMs < DEAD_AFTER_MS
  }
  // in containers a restarted program often gets its old process id back
  if (pid === process.pid) return held.has(path)
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"
  }
}
