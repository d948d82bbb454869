import {
  closeSync,
  copyFileSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  renameSync,
  statSync,
} from "node:fs"
import { basename, dirname } from "node:path"
import { ownPlace } from "../host/own-place.ts"
import { temporaryName, writeError, writeWhole } from "./atomic.ts"

/** A file that grows by whole lines. */
export interface LineFile {
  /**
   * Appends a line: all of it or nothing.
   *
   * @throws InputError when the disk is full or the file cannot be written
   */
  append(line: string | Uint8Array): void
  /** Waits until all lines are on the disk. */
  flush(): void
  close(): void
}

/**
 * Opens a file to append lines to. What a killed process left of a last line is cut off first, or
 * all that is past `bytes`. A file that goes by other names too (a copy by hard links) is first
 * made one of its own.
 *
 * @throws InputError when it cannot be written, or is a link to another folder
 */
export function openLineFile(path: string, bytes?: number): LineFile {
  const writing = <T>(work: () => T): T => {
    try {
      return work()
    } catch (error) {
      throw writeError(error, path)
    }
  }
  ownPlace(dirname(path), basename(path))
  writing(() => partFromOthers(path))
  const file = writing(() => openSync(path, "a+"))
  const size = bytes ?? wholeLines(file)
  if (fstatSync(file).size !== size) writing(() => ftruncateSync(file, size))
  let open = true
  return {
    append(line) {
      const before = fstatSync(file).size // another process may append to it too
      try {
        writeWhole(file, Buffer.concat([Buffer.from(line), NEWLINE]))
      } catch (error) {
        cutBack(file, before)
        throw writeError(error, path)
      }
    },
    flush: () => writing(() => fsyncSync(file)),
    close() {
      if (open) closeSync(file)
      open = false
    },
  }
}

function partFromOthers(path: string): void {
  const there = statSync(path, { throwIfNoEntry: false })
  if (!there?.isFile() || there.nlink < 2) return
  const temporary = temporaryName(path)
  copyFileSync(path, temporary)
  renameSync(temporary, path)
}

/** What was written of a line that did not fit would be glued to the next. */
function cutBack(file: number, size: number): void {
  try {
    ftruncateSync(file, size)
  } catch {
    // the reader leaves out a torn line, and the error that led here is told
  }
}

const NEWLINE = Buffer.from("\n")
const PIECE = 1 << 16

/** Bytes up to the end of the last whole line. */
function wholeLines(file: number): number {
  const piece = Buffer.alloc(PIECE)
  for (let end = fstatSync(file).size; end > 0; ) {
    const start = Math.max(0, end - PIECE)
    const read = readSync(file, piece, 0, end - start, start)
    const at = piece.subarray(0, read).lastIndexOf(0x0a)
    if (at >= 0) return start + at + 1
    end = start
  }
  return 0
}
