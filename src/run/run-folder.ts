import { existsSync } from "node:fs"
import { join } from "node:path"
import { assert, InputError } from "../errors.ts"
import { makeFolder, replaceFileNow } from "../formats/atomic.ts"
import { isObject, parseJson, refuseDeep } from "../formats/json.ts"
import { type LineFile, openLineFile } from "../formats/line-file.ts"
import { plainText } from "../formats/plain-file.ts"
import { ownPlace } from "../host/own-place.ts"
import { clearRun, removeLeftovers } from "./clear-run.ts"
import { isRunEvent } from "./event-fields.ts"
import type { RunEvent } from "./events.ts"
import { supersede } from "./history.ts"
import { RUN_FILES } from "./run-files.ts"
import { isLeftLocked, lockFolder } from "./run-lock.ts"
import { holdsRun, refuseRunLinks, runPlace } from "./run-place.ts"

export { RUN_FILES }

/** What `config.json` holds beside the resolved config. */
export interface RunRecord {
  readonly config: unknown
  /** Versions and hashes of model, data, template and code, by name. */
  readonly versions: Readonly<Record<string, string>>
}

/** Removes what a process left that was killed when its run was done, but for giving it back. */
export function tidyDone(path: string): void {
  if (!isLeftLocked(path)) return
  refuseRunLinks(path)
  const unlock = lockFolder(path)
  try {
    removeLeftovers(path)
  } finally {
    unlock()
  }
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
  /** The step that the run goes on from; 0 for a run from its beginning. */
  readonly step?: number
  /** Removes the run that is there first. */
  readonly overwrite?: boolean
}

/**
 * Makes or continues a run folder and locks it. What an earlier start wrote of steps that come
 * again is moved aside, what a killed one left half written is removed.
 *
 * @throws InputError when another process is writing it, when it holds a run with a checkpoint or
 * a result and this one starts from its beginning, when it cannot be written, or where a link of it
 * leads elsewhere
 */
export function openRunFolder(
  path: string,
  { record, step = 0, overwrite = false }: OpenOptions,
): RunFolder {
  makeFolder(path)
  refuseRunLinks(path)
  const unlock = lockFolder(path)
  try {
    const fresh = step === 0
    if (fresh && overwrite) clearRun(path)
    if (fresh && runPlace(path) === "run") throw new InputError(holdsRun(path))
    removeLeftovers(path)
    supersede(path, step)
    replaceFileNow(join(path, RUN_FILES.config), `${JSON.stringify(record, null, 2)}\n`)
    const events = openLineFile(join(path, RUN_FILES.events))
    const samples = openLineFile(join(path, RUN_FILES.samples))
    const append = (file: LineFile, value: unknown) => {
      assert(open, "a line after the run folder was closed")
      file.append(JSON.stringify(value))
      file.flush()
    }
    let open = true
    return {
      path,
      append: (event) => append(events, event),
      appendSample: (sample) => append(samples, sample),
      close: () => {
        if (!open) return
        open = false
        events.close()
        samples.close()
        unlock()
      },
    }
  } catch (error) {
    unlock()
    throw error
  }
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

/** What one text can hold. */
const MAX_EVENT_BYTES = 512e6

/**
 * Reads a run back. A last line without its newline is a write in progress (or a kill) and is
 * left out. Throws an `InputError` when there is no run.
 */
export function readRun(path: string): RunRead {
  const file = join(path, RUN_FILES.events)
  if (!existsSync(file)) {
    throw new InputError(`${path}: expected a run folder, found no ${RUN_FILES.events}`)
  }
  const { events, badLines } = parseEvents(plainText(file, MAX_EVENT_BYTES))
  return { path, record: readRunRecord(path), events, badLines }
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

/** The event of one line; undefined for what is none. */
export function parseEvent(line: string): RunEvent | undefined {
  try {
    refuseDeep(line, "an event")
    const value: unknown = JSON.parse(line)
    return isRunEvent(value) ? value : undefined
  } catch {
    return undefined // reported by line number
  }
}

/** What `config.json` of a run says; undefined where there is none. */
export function readRunRecord(path: string): RunRecord | undefined {
  const file = ownPlace(path, RUN_FILES.config)
  if (!existsSync(file)) return undefined
  const record = parseJson(plainText(file), file)
  return isObject(record) ? (record as unknown as RunRecord) : undefined
}
