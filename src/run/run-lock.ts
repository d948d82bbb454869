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

const LOCK_FILE = "run.lock"
/** The holder touches its lock this often; another host calls it dead after eight misses. */
const TOUCH_EVERY_MS = 15_000
const DEAD_AFTER_MS = 120_000

interface LockOwner {
  readonly pid: number
  readonly host: string
}

const held = new Set<string>()

/**
 * Takes a folder's lock; returns what gives it back. The lock of a process that is gone is taken
 * over. Throws an `InputError` when another process (or this one) holds it.
 */
export function lockFolder(folder: string): () => void {
  const path = join(folder, LOCK_FILE)
  const mine = `${path}.${randomUUID()}`
  writeFileSync(mine, JSON.stringify({ pid: process.pid, host: hostname() } satisfies LockOwner))
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

/** A hard link is made only if the name is free: the one atomic step that every file system has. */
function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error
    return false
  }
}

/** Moves a dead process's lock out of the way; throws when its holder lives. */
function setAside(path: string, folder: string): void {
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
  if (owner === undefined || !isAlive(owner, file, path)) return
  throw new InputError(
    `${folder}: process ${owner.pid} on ${owner.host} is writing this run; wait for it, or give another output_dir (if it is gone, remove ${path})`,
  )
}

function lockOwner(path: string): LockOwner | undefined {
  try {
    const owner = JSON.parse(readFileSync(path, "utf8")) as LockOwner
    return Number.isInteger(owner.pid) && typeof owner.host === "string" ? owner : undefined
  } catch {
    return undefined // just removed, or nobody's
  }
}

function isAlive({ pid, host }: LockOwner, file: string, path: string): boolean {
  if (host !== hostname()) return Date.now() - statSync(file).mtimeMs < DEAD_AFTER_MS
  // in containers a restarted program often gets its old process id back
  if (pid === process.pid) return held.has(path)
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"
  }
}
