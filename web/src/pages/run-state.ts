/** All that a run has told, kept up to date as it tells more. */
import { useEffect, useRef, useState } from "preact/hooks"
import { rolloutColumns } from "../../../src/report/columns.ts"
import { figuresOf, type RunFigures } from "../../../src/report/run-figures.ts"
import type { RunEvent } from "../../../src/run/events.ts"
import { detailsOf } from "../../../src/run/run-details.ts"
import { emptyIndex, take } from "../../../src/run/run-index.ts"
import type { ShownRun } from "../run-view/shown-run.ts"
import { bytes, json, runPath } from "./api.ts"
import type { Told } from "./live.ts"
import { store } from "./store.ts"

export type RunState = ShownRun

/** Where a run began and where it stands. */
export function toldFigures(
  { name, details }: RunState,
  config: Readonly<Record<string, unknown>>,
): RunFigures {
  const { columns, starts, ends, evals, rollouts } = details
  const start = starts.at(-1)
  const end = ends.findLast(({ time }) => start === undefined || time >= start.time)
  return figuresOf({
    ...{ name, config, columns, evals, start, end },
    rollouts: rolloutColumns(rollouts),
  })
}

/** Where an event begins and ends in the run's file, by its id. */
function placeOf(id: string | undefined): { readonly from: number; readonly to: number } {
  const [from = 0, to = 0] = (id ?? "").split("-").map(Number)
  return { from, to }
}

interface Piece {
  readonly reset: boolean
  readonly events: readonly RunEvent[]
  readonly last_event_id: string | null
  readonly more: boolean
}

/**
 * A run as it is told: each event once, in order, over lost connections and other tabs' streams.
 */
export class FollowedRun {
  index = emptyIndex()
  last: string | undefined
  readonly #name: string
  readonly #changed: () => void
  /** One thing after the other. */
  #turn: Promise<void>
  #isClosed = false
  readonly #ends: (() => void)[] = []

  constructor(name: string, changed: () => void) {
    this.#name = name
    this.#changed = changed
    this.#ends.push(store.live.listen((told) => this.#hear(told)))
    this.#turn = this.#load()
  }

  get loaded(): Promise<void> {
    return this.#turn
  }

  close(): void {
    this.#isClosed = true
    for (const end of this.#ends) end()
  }

  async #load(): Promise<void> {
    const found = detailsOf(await bytes(runPath(this.#name, "/details")))
    if (!found) throw new Error("this page is of another version than its server: load it again")
    this.index = { ...emptyIndex(), details: found.details }
    this.last = found.last
    if (this.#isClosed) return
    this.#ends.push(store.live.follow(this.#name, () => this.last))
    this.#changed()
  }

  #hear(told: Told): void {
    if ("run" in told) {
      if (told.run === this.#name) this.#then(() => this.#take(told))
    } else if (told.runs.some(({ name }) => name === this.#name)) {
      this.#then(() => this.#ask())
    }
  }

  #then(work: () => Promise<void>): void {
    const turn = () => (this.#isClosed ? Promise.resolve() : work())
    this.#turn = this.#turn.then(turn, turn) // what failed is tried again by the next event
    this.#turn.catch(() => {})
  }

  /** One of more runs than a stream follows: the list tells that it went on. */
  async #ask(): Promise<void> {
    if (store.live.isFollowed(this.#name)) return
    await this.#catchUp()
    this.#changed()
  }

  async #take(told: Exclude<Told, { runs: unknown }>): Promise<void> {
    if ("reset" in told) {
      this.index = emptyIndex()
      this.last = undefined
    } else {
      const { from, to } = placeOf(told.id)
      const here = placeOf(this.last).to
      if (to <= here) return // another tab needed it once more
      if (from > here) await this.#catchUp()
      if (placeOf(this.last).to <= from) {
        take(this.index, told.event)
        this.last = told.id
      }
    }
    this.#changed()
  }

  /** What was told while nobody listened. */
  async #catchUp(): Promise<void> {
    for (let more = true; more; ) {
      const after = this.last === undefined ? "" : `?after=${this.last}`
      const piece = await json<Piece>(runPath(this.#name, `/events${after}`))
      if (piece.reset) this.index = emptyIndex()
      for (const event of piece.events) take(this.index, event)
      more = piece.more && piece.last_event_id !== this.last
      this.last = piece.last_event_id ?? undefined
    }
  }
}

/** Draws at most four times a second. */
const DRAW_EVERY_MS = 250

/** Runs by name, each undefined until it is there; drawn again as they tell more. */
export function useRuns(names: readonly string[]): {
  readonly runs: readonly (RunState | undefined)[]
  readonly problem: string
} {
  const [version, setVersion] = useState(0)
  const [problem, setProblem] = useState("")
  const followed = useRef(new Map<string, FollowedRun>())
  const key = names.join("\n")
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined
    const changed = () => {
      timer ??= setTimeout(() => {
        timer = undefined
        setVersion((version) => version + 1)
      }, DRAW_EVERY_MS)
    }
    const runs = followed.current
    setProblem("")
    for (const name of names) {
      const run = new FollowedRun(name, changed)
      runs.set(name, run)
      run.loaded.then(
        () => setVersion((version) => version + 1),
        (error: Error) => setProblem(error.message),
      )
    }
    return () => {
      clearTimeout(timer)
      for (const run of runs.values()) run.close()
      runs.clear()
    }
  }, [key])
  const runs = names.map((name) => {
    const run = followed.current.get(name)
    const isThere = run && (run.last !== undefined || run.index.details.columns.size > 0)
    return isThere ? { name, version, details: run.index.details } : undefined
  })
  return { runs, problem }
}

export function useRun(name: string | undefined) {
  const { runs, problem } = useRuns(name === undefined ? [] : [name])
  return { run: runs[0], problem }
}
