/** A run's index beside it, so that a server that starts anew reads only what was added since. */
import { existsSync } from "node:fs"
import { join } from "node:path"
import { makeFolder, replaceFileNow } from "../formats/atomic.ts"
import { isObject } from "../formats/json.ts"
import { jsonOfFile, plainBytes } from "../formats/plain-file.ts"
import { ownPlace } from "../host/own-place.ts"
import { isRunEvent } from "../run/event-fields.ts"
import {
  areNumbers,
  detailsBytes,
  detailsOf,
  INDEX_VERSION,
  isCount,
  isEntries,
} from "../run/run-details.ts"
import { PAGE_FILES } from "../run/run-files.ts"
import { emptyIndex, type RunDetails, type RunIndex, type RunSummary } from "../run/run-index.ts"

const place = (run: string, file: keyof typeof PAGE_FILES) =>
  join(run, PAGE_FILES.folder, PAGE_FILES[file])

export function writeIndex(run: string, { summary, details }: RunIndex): void {
  makeFolder(ownPlace(run, PAGE_FILES.folder))
  replaceFileNow(place(run, "details"), detailsBytes(details, summary.last))
  const told = { version: INDEX_VERSION, ...summary, best: [...summary.best] }
  replaceFileNow(place(run, "summary"), `${JSON.stringify(told)}\n`)
}

/**
 * Undefined where there is none that this version wrote; what a stranger wrote is looked through.
 */
export function readSummary(run: string): RunSummary | undefined {
  const value = jsonOfFile(place(run, "summary"))
  if (!isObject(value) || value.version !== INDEX_VERSION) return undefined
  const { version: _, last, end, warnings, best, nll, start, ended, step, evaluation } = value
  if (typeof last !== "string" || !isCount(end) || !isCount(warnings)) return undefined
  if (!isEntries(best, isBest) || !isSeries(nll)) return undefined
  const events = { start, ended, step, evaluation }
  for (const event of Object.values(events)) {
    if (event !== undefined && !isRunEvent(event)) return undefined
  }
  const known = { last, end, warnings, nll, ...events } as unknown as RunSummary
  return { ...emptyIndex().summary, ...known, best: new Map(best) }
}

/** Undefined where they are not those of `last`. */
export function readDetails(run: string, last: string): RunDetails | undefined {
  const path = place(run, "details")
  if (!existsSync(path)) return undefined
  const found = detailsOf(new Uint8Array(plainBytes(path)))
  return found?.last === last ? found.details : undefined
}

const isSeries = (value: unknown): boolean =>
  isObject(value) &&
  areNumbers(value.means) &&
  typeof value.sum === "number" &&
  isCount(value.count) &&
  isCount(value.every)

const isBest = (value: unknown): boolean =>
  isObject(value) &&
  [value.score, value.nll].every(
    (one) =>
      one === undefined || (isObject(one) && typeof one.value === "number" && isCount(one.step)),
  )
