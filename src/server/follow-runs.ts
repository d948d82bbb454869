/**
 * One stream for a whole page: which runs there are, and every event of those that are looked at.
 */
import { existsSync } from "node:fs"
import { join } from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { RUN_FILES } from "../run/run-folder.ts"
import { type DescribedRun, describedRun } from "./described-run.ts"
import type { Told } from "./event-stream.ts"
import { runFolders } from "./run-folders.ts"
import type { RunIndexes } from "./run-indexes.ts"
import { linesFrom, placeAfter } from "./run-lines.ts"

const POLL_MS = 250
/** Of the list of runs: every so many polls. */
const LIST_POLLS = 3
const SIGN_OF_LIFE_POLLS = 40

export interface FollowOptions {
  readonly dir: string
  readonly indexes: RunIndexes
  /** Runs whose events are told. */
  readonly names: readonly string[]
  /** Where each of them has come to: what this stream gave as an id. */
  readonly after: string | undefined
  readonly signal: AbortSignal
}

/** Last event of each run, as an id of the stream. */
const idOf = (places: ReadonlyMap<string, string>) =>
  Buffer.from(JSON.stringify([...places])).toString("base64url")

function placesOf(id: string | undefined): Map<string, string> {
  try {
    const entries: unknown = JSON.parse(Buffer.from(id ?? "", "base64url").toString("utf8"))
    if (!Array.isArray(entries)) return new Map()
    const isPlace = (one: unknown): one is [string, string] =>
      Array.isArray(one) && typeof one[0] === "string" && typeof one[1] === "string"
    return new Map(entries.filter(isPlace))
  } catch {
    return new Map() // no id of ours: every run from its beginning
  }
}

/**
 * `{ runs }`: every run first, then those that changed, whenever they do. `{ run, id, event }`:
 * each event once; `{ run, reset: true }` where the last one told is not in the file any more,
 * then all its events.
 */
export async function* followAll({
  dir,
  indexes,
  names,
  after,
  signal,
}: FollowOptions): AsyncGenerator<Told | undefined> {
  const places = placesOf(after)
  let known = new Map<string, string>()
  let quiet = 0
  for (let poll = 0; !signal.aborted; poll++) {
    let isQuiet = true
    if (poll % LIST_POLLS === 0) {
      const { changed, gone, now } = await changes(dir, indexes, known)
      known = now
      if (changed.length > 0 || gone.length > 0) {
        isQuiet = false
        yield { data: { runs: changed, gone } }
      }
    }
    for (const { name, path } of runFolders(dir).filter((run) => names.includes(run.name))) {
      for await (const told of newLines(name, join(path, RUN_FILES.events), places)) {
        if (signal.aborted) return
        isQuiet = false
        yield told
      }
    }
    quiet = isQuiet ? quiet + 1 : 0
    if (quiet > 0 && quiet % SIGN_OF_LIFE_POLLS === 0) yield undefined
    if (isQuiet) await sleep(POLL_MS)
  }
}

async function* newLines(
  run: string,
  path: string,
  places: Map<string, string>,
): AsyncGenerator<Told> {
  const last = places.get(run)
  let place = last === undefined ? 0 : placeAfter(path, last)
  if (place === undefined) {
    places.delete(run)
    place = 0
    yield { id: idOf(places), data: { run, reset: true } }
  }
  for (const { id, event } of linesFrom(path, place).lines) {
    places.set(run, id)
    yield { id: idOf(places), data: { run, id, event } }
  }
}

/** Runs that are told otherwise than before; a run is told apart by all that is said of it. */
async function changes(dir: string, indexes: RunIndexes, known: ReadonlyMap<string, string>) {
  const now = new Map<string, string>()
  const changed: DescribedRun[] = []
  for (const run of runFolders(dir)) {
    if (!existsSync(join(run.path, RUN_FILES.events))) continue
    const described = describedRun(run, await indexes.summary(run))
    const text = JSON.stringify(described)
    now.set(run.name, text)
    if (known.get(run.name) !== text) changed.push(described)
  }
  return { changed, gone: [...known.keys()].filter((name) => !now.has(name)), now }
}
