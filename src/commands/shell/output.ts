/** Where words and results go, and what happens when their reader has gone. */
import { fstatSync } from "node:fs"
import { writeWhole } from "../../formats/atomic.ts"

type Output = typeof process.stdout | typeof process.stderr

let lasting = false
let failed = false
const lost = new Set<Output>()

/** What the command does is worth finishing when nobody reads what it says: it writes files. */
export function outliveReaders(): void {
  lasting = true
}

/**
 * Whether something that was to be printed could not be, for another reason than a reader's going.
 */
export const outputFailed = (): boolean => failed

export function watchOutputs(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error) => onError(stream, error))
  }
}

export function write(stream: Output, text: string): void {
  if (lost.has(stream)) return
  try {
    // of a full disk Node's own stream takes a part without a word
    if (isFile(stream.fd)) writeWhole(stream.fd, text)
    else stream.write(text)
  } catch (error) {
    onError(stream, error as NodeJS.ErrnoException)
  }
}

const files = new Map<number, boolean>()

function isFile(descriptor: number): boolean {
  let is = files.get(descriptor)
  if (is === undefined) {
    try {
      is = fstatSync(descriptor).isFile()
    } catch {
      is = false // closed from the start
    }
    files.set(descriptor, is)
  }
  return is
}

/** All that was written is on its way. */
export function flushed(stream: Output): Promise<void> {
  if (lost.has(stream)) return Promise.resolve()
  return new Promise((done) => {
    stream.once("error", () => done())
    try {
      stream.write("", () => done())
    } catch {
      done()
    }
  })
}

/** `| head` has read enough; the terminal was closed. */
const GONE: ReadonlySet<string | undefined> = new Set(["EPIPE", "EIO", "ECONNRESET", "ENXIO"])

function onError(stream: Output, error: NodeJS.ErrnoException): void {
  if (lost.has(stream)) return
  lost.add(stream)
  const name = stream === process.stdout ? "stdout" : "stderr"
  const gone = GONE.has(error.code)
  if (!gone) failed = true
  const why = gone ? "nobody reads it any more" : error.message
  const other = stream === process.stdout ? process.stderr : process.stdout
  if (lasting) {
    write(process.stderr, `${name}: ${why}; going on without it\n`)
    return
  }
  if (!gone && other === process.stderr) write(other, `error: cannot write ${name}: ${why}\n`)
  // a verdict that was reached stands: check and doctor end with it
  process.exit(gone ? Number(process.exitCode ?? 0) : 1)
}

/**
 * Whether both outputs are files (or nothing): then a terminal that is closed takes nothing away.
 */
export function needsNoTerminal(): boolean {
  return [1, 2].every((descriptor) => {
    try {
      const stat = fstatSync(descriptor)
      const nothing =
        stat.isCharacterDevice() && !(descriptor === 1 ? process.stdout : process.stderr).isTTY
      return stat.isFile() || nothing
    } catch {
      return true // closed from the start
    }
  })
}
