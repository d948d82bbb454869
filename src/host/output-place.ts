import { closeSync, openSync, readSync, realpathSync } from "node:fs"
import { dirname, isAbsolute, join, relative, resolve, sep } from "node:path"
import { InputError } from "../errors.ts"
import { statOf } from "./stat.ts"

/** What a command reads, and must find unharmed when it has written. */
export interface ReadPlace {
  readonly path: string
  /** For people: "the model", "the rows". */
  readonly what: string
}

export interface OutputPlace {
  /** What named the place, for errors: `--out`, `output_dir`. */
  readonly option: string
  readonly reads?: readonly ReadPlace[]
}

/** The path with every link followed, of what is there and of what is still to be made. */
function realPlace(path: string): string {
  const whole = resolve(path)
  try {
    return realpathSync.native(whole)
  } catch {
    const parent = dirname(whole)
    return parent === whole ? whole : join(realPlace(parent), relative(parent, whole))
  }
}

/** Also of one place under two names: links, and letters where their case does not count. */
export function isSamePlace(a: string, b: string): boolean {
  if (realPlace(a) === realPlace(b)) return true
  const [left, right] = [statOf(a), statOf(b)]
  if (left === undefined || right === undefined || left.ino === 0) return false
  return left.ino === right.ino && left.dev === right.dev
}

/** Of the places themselves, with every link followed. */
export function liesIn(path: string, folder: string): boolean {
  const way = relative(realPlace(folder), realPlace(path))
  return way !== "" && way !== ".." && !way.startsWith(`..${sep}`) && !isAbsolute(way)
}

/**
 * Refuses a folder to write to that is, holds or lies in a folder that the command reads, and one
 * that is a file.
 *
 * @throws InputError
 */
export function checkOutputFolder(out: string, { option, reads = [] }: OutputPlace): void {
  const there = statOf(out)
  if (there !== undefined && !there.isDirectory()) {
    throw new InputError(`${option} ${out}: expected a folder, got a file`)
  }
  for (const { path, what } of reads) {
    if (statOf(path) === undefined) continue
    const how = isSamePlace(out, path)
      ? `is that of ${what}`
      : liesIn(path, out)
        ? `holds ${what} (${path})`
        : liesIn(out, path)
          ? `lies in that of ${what} (${path})`
          : undefined
    if (how !== undefined) {
      throw new InputError(`${option} ${out}: this folder ${how}; give another`)
    }
  }
}

interface OutputFile extends OutputPlace {
  /** Whether the first bytes of a file say that this command wrote it earlier. */
  readonly wrote: (head: string) => boolean
  /** For people: "dftune grade". */
  readonly writer: string
}

const HEAD_BYTES = 65_536

function headOf(path: string): string {
  const file = openSync(path, "r")
  try {
    const head = Buffer.alloc(HEAD_BYTES)
    return head.subarray(0, readSync(file, head, 0, HEAD_BYTES, 0)).toString("utf8")
  } finally {
    closeSync(file)
  }
}

/**
 * Refuses a file to write that is one of the files read, no plain file, or one that is there and
 * that another hand wrote: what is put in its place could not be had back.
 *
 * @throws InputError
 */
export function checkOutputFile(
  out: string,
  { option, reads = [], wrote, writer }: OutputFile,
): void {
  const same = reads.find(({ path }) => isSamePlace(out, path))
  if (same !== undefined) {
    throw new InputError(`${option} ${out}: ${same.what} are read from there; give another file`)
  }
  const there = statOf(out)
  if (there === undefined) return
  if (!there.isFile()) {
    const kind = there.isDirectory() ? "a folder" : "a device or pipe"
    throw new InputError(`${option} ${out}: expected a file, got ${kind}`)
  }
  if (there.size > 0 && !wrote(headOf(out))) {
    throw new InputError(
      `${option} ${out}: is there, and ${writer} did not write it; give another file, or move this one away`,
    )
  }
}

/** A page of dftune's; those of 0.1.0 say so in their titles alone. */
export function isPage(head: string): boolean {
  return (
    /^<!doctype html>/i.test(head) &&
    (head.includes('<meta name="generator" content="dftune">') ||
      /<title>(Evaluation of |[^<]*(· dftune|: what is trained)<)/.test(head))
  )
}

/** Checks the file of a command's `--html`. */
export function checkPage(out: string, reads: readonly ReadPlace[] = []): void {
  checkOutputFile(out, { option: "--html", reads, wrote: isPage, writer: "dftune" })
}

/** Whether the first whole line is an object with these keys. */
export function firstRowHas(head: string, keys: readonly string[]): boolean {
  const [line = ""] = head.split("\n", 1)
  try {
    const row: unknown = JSON.parse(line)
    return typeof row === "object" && row !== null && keys.every((key) => key in row)
  } catch {
    // a row longer than what was read: its keys are told by their names
    return line.length > HEAD_BYTES / 2 && keys.every((key) => line.includes(`"${key}":`))
  }
}
