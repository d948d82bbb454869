import { randomUUID } from "node:crypto"
import {
  closeSync,
  existsSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
  writeSync,
} from "node:fs"
import { join } from "node:path"
import { assert, InputError } from "../errors.ts"
import type { RunEvent } from "./events.ts"
import { RUN_FILES } from "./run-files.ts"
import { lockFolder } from "./run-lock.ts"

export { RUN_FILES }

/** What `config.json` holds beside the resolved config. */
export interface RunRecord {
  readonly config: unknown
  /** Versions and hashes of model, data, template and code, by name. */
  readonly versions: Readonly<Record<string, string>>
}

/** A run folder that this process, and no other, writes. */
export interface RunFolder {
  readonly path: string
  /** Appends one line and waits until it is on the disk. */
  readonly append: (event: RunEvent) => void
  /** Appends one line to samples.jsonl. */
  readonly appendSample: (sample: unknown) => void
  readonly close: () => void
}

interface OpenOptions {
  readonly record: RunRecord
  /** Continue the events of an earlier run in this folder; otherwise the folder must hold none. */
  readonly resume?: boolean
}

/**
 * Makes or continues a run folder and locks it. Throws an `InputError` when another process is
 * writing it, or when it already holds a run and `resume` is not set.
 */
export function openRunFolder(path: string, { record, resume = false }: OpenOptions): RunFolder {
  mkdirSync(path, { recursive: true })
  const unlock = lockFolder(path)
  try {
    const events = join(path, RUN_FILES.events)
    if (!resume && existsSync(events) && statSync(events).size > 0) {
      throw new InputError(
        `${path}: already holds a run; continue it with --resume, replace it with --overwrite, or give another output_dir`,
      )
    }
    replaceFile(join(path, RUN_FILES.config), `${JSON.stringify(record, null, 2)}\n`)
    const eventLog = openAppend(events)
    const sampleLog = openAppend(join(path, RUN_FILES.samples))
    let open = true
    return {
      path,
      append: (event) => {
        assert(open, "an event after the run folder was closed")
        appendLine(eventLog, event)
      },
      appendSample: (sample) => {
        assert(open, "a sample after the run folder was closed")
        appendLine(sampleLog, sample)
      },
      close: () => {
        if (!open) return
        open = false
        closeSync(eventLog)
        closeSync(sampleLog)
        unlock()
      },
    }
  } catch (error) {
    unlock()
    throw error
  }
}

/** Writes a small file beside its name, flushes it, and renames it: whole or not at all. */
function replaceFile(path: string, text: string): void {
  const temporary = `${path}.${randomUUID()}.tmp`
  const file = openSync(temporary, "w")
  try {
    writeSync(file, text)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  renameSync(temporary, path)
}

function appendLine(file: number, value: unknown): void {
  writeSync(file, `${JSON.stringify(value)}\n`)
  fsyncSync(file)
}

/** A killed process can leave half a line; what follows must not be glued to it. */
function openAppend(path: string): number {
  const file = openSync(path, "a+")
  const { size } = statSync(path)
  const tail = Buffer.alloc(Math.min(size, 1 << 20))
  readSync(file, tail, 0, tail.length, size - tail.length)
  const whole = tail.lastIndexOf(0x0a) + 1
  if (whole < tail.length) ftruncateSync(file, size - tail.length + whole)
  return file
}

/** A run as its folder tells it. */
export interface RunRead {
  readonly path: string
  readonly record: RunRecord | undefined
  readonly events: readonly RunEvent[]
  /** Lines of events.jsonl that could not be read, from 1; a torn last line is not one. */
  readonly badLines: readonly number[]
}

/** Whether `path` looks like a run folder. */
export function isRunFolder(path: string): boolean {
  return existsSync(join(path, RUN_FILES.events))
}

/**
 * Reads a run back. A last line without its newline is a write in progress (or a kill) and is
 * left out. Throws an `InputError` when there is no run.
 */
export function readRun(path: string): RunRead {
  const file = join(path, RUN_FILES.events)
  if (!existsSync(file)) {
    throw new InputError(`${path}: expected a run folder, found no ${RUN_FILES.events}`)
  }
  const { events, badLines } = parseEvents(readFileSync(file, "utf8"))
  return { path, record: readRecord(path), events, badLines }
}

/** The events of whole lines; `badLines` are those that are no event. */
export function parseEvents(text: string): Pick<RunRead, "events" | "badLines"> {
  const events: RunEvent[] = []
  const badLines: number[] = []
  const lines = text.split("\n").slice(0, -1)
  for (const [i, line] of lines.entries()) {
    const event = parseEvent(line)
    if (event !== undefined) events.push(event)
    else if (line.trim() !== "") badLines.push(i + 1)
  }
  return { events, badLines }
}

function parseEvent(line: string): RunEvent | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === "object" && value !== null && "type" in value
      ? (value as RunEvent)
      : undefined
  } catch {
    return undefined // reported by line number
  }
}

function readRecord(path: string): RunRecord | undefined {
  const file = join(path, RUN_FILES.config)
  if (!existsSync(file)) return undefined
  try {
    return JSON.parse(readFileSync(file, "utf8")) as RunRecord
  } catch (error) {
    throw new InputError(`${file}: not JSON: ${(error as Error).message}`)
  }
}
