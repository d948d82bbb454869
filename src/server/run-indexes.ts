/** The index of every run of the folder, brought up to date piece by piece. */
import { statSync } from "node:fs"
import { join } from "node:path"
import { setImmediate } from "node:timers/promises"
import { InputError } from "../errors.ts"
import { RUN_FILES } from "../run/run-folder.ts"
import { emptyIndex, type RunDetails, type RunIndex, type RunSummary } from "../run/run-index.ts"
import { LineTaker } from "../run/take-lines.ts"
import { readDetails, readSummary, writeIndex } from "./index-file.ts"
import type { NamedRun } from "./run-folders.ts"
import { lineId, placeAfter, sizeOf, wholeLines } from "./run-lines.ts"

/** Events that a restarted server may have to read again of a run that goes on; bytes. */
const UNWRITTEN_BYTES = 2 ** 22
/**
 * A run that has told nothing for this long has ended, or may be waited for without its details.
 */
const QUIET_MS = 60_000

interface Kept {
  summary: RunSummary
  /** Left out of memory where they lie on the disk or can be made anew. */
  details: RunDetails | undefined
  /** Where the index on the disk ends; bytes. */
  written: number
  /** One reading after the other. */
  turn: Promise<unknown>
}

export class RunIndexes {
  readonly #readOnly: boolean
  readonly #kept = new Map<string, Kept>()

  constructor({ readOnly }: { readonly readOnly: boolean }) {
    this.#readOnly = readOnly
  }

  /** All events that are whole by now. */
  summary(run: NamedRun): Promise<RunSummary> {
    return this.#turn(run, async (kept) => {
      await this.#update(run, kept)
      this.#settle(run, kept)
      return kept.summary
    })
  }

  /** Both halves, up to the same event; for the caller alone until it awaits something. */
  whole(run: NamedRun): Promise<RunIndex> {
    return this.#turn(run, async (kept) => {
      this.#openDetails(run, kept)
      await this.#update(run, kept)
      const whole = { summary: kept.summary, details: kept.details! }
      this.#settle(run, kept)
      return whole
    })
  }

  /** Whether its events have been looked at since the start. */
  isRead({ path }: NamedRun): boolean {
    return this.#kept.has(path)
  }

  #turn<Result>(run: NamedRun, body: (kept: Kept) => Promise<Result>): Promise<Result> {
    const kept = this.#kept.get(run.path) ?? opened(run.path)
    this.#kept.delete(run.path)
    this.#kept.set(run.path, kept)
    const turn = kept.turn.then(() => body(kept))
    kept.turn = turn.catch(() => {}) // told to whoever awaits it
    return turn
  }

  /** The details up to the summary's last event; both begin anew where there are none. */
  #openDetails({ path }: NamedRun, kept: Kept): RunDetails {
    const { last } = kept.summary
    if (kept.details === undefined && last !== undefined) kept.details = readDetails(path, last)
    if (kept.details === undefined) Object.assign(kept, emptyIndex(), { written: 0 })
    return kept.details!
  }

  async #update(run: NamedRun, kept: Kept): Promise<void> {
    const path = join(run.path, RUN_FILES.events)
    const { last, end } = kept.summary
    if (last !== undefined && placeAfter(path, last) === undefined) {
      Object.assign(kept, emptyIndex(), { written: 0 }) // a resumed run put other events there
    } else if (sizeOf(path) === end) return
    const details = this.#openDetails(run, kept)
    const { summary } = kept
    const taker = new LineTaker({ summary, details })
    for (let more = true; more; ) {
      const piece = wholeLines(path, summary.end)
      const last = taker.take(piece.bytes)
      if (last) {
        const line = piece.bytes.subarray(last.start, last.end)
        summary.last = lineId(line, summary.end + last.start)
      }
      more = piece.more && piece.bytes.length > 0
      summary.end += piece.bytes.length
      await setImmediate()
    }
  }

  /** Writes what is worth it, and keeps in memory what will be added to. */
  #settle({ path }: NamedRun, kept: Kept): void {
    const { summary, details } = kept
    if (details === undefined) return
    const fresh = summary.end - kept.written
    const isQuiet = Date.now() - statSync(join(path, RUN_FILES.events)).mtimeMs > QUIET_MS
    const isDone = summary.ended !== undefined || isQuiet
    if (!this.#readOnly && summary.last !== undefined && fresh > (isDone ? 0 : UNWRITTEN_BYTES)) {
      try {
        writeIndex(path, { summary, details })
      } catch (error) {
        if (!(error instanceof InputError)) throw error // a folder that others own: kept in memory
      }
      kept.written = summary.end
    }
    if (isDone) kept.details = undefined
  }
}

function opened(path: string): Kept {
  const summary = readSummary(path)
  const turn = Promise.resolve()
  if (summary === undefined) return { ...emptyIndex(), written: 0, turn }
  return { summary, details: undefined, written: summary.end, turn }
}
