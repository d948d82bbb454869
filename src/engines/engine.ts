import type { Config } from "../config/index.ts"
import type { RunEvent } from "../run/events.ts"
import type { Tracker } from "../trackers/index.ts"
import type { RunResult } from "../train/run.ts"

/** A run that is going on: its events as they happen, and how it ended. */
export interface Run extends AsyncIterable<RunEvent> {
  /** Rejects with InputError for what the user can mend. */
  readonly result: Promise<RunResult>
}

export interface RunOptions {
  /** Aborting makes a checkpoint and ends the run with `interrupted`. */
  readonly signal?: AbortSignal
  /** What is being done before the first event, for people. */
  readonly onProgress?: (message: string) => void
  /** Says how long the run will take, which some seconds are spent on (local engine). */
  readonly timed?: boolean
  /** Told of every event in order, beside those that `report_to` names. */
  readonly trackers?: readonly Tracker[]
}

/** What a run would do, found out without training. */
export interface EnginePlan {
  readonly steps: number
  /** For people, in order: what is set, and to what. */
  readonly lines: readonly (readonly [name: string, text: string])[]
  /** For programs: what `--dry-run --json` prints. */
  readonly json: Readonly<Record<string, unknown>>
  readonly warnings: readonly {
    readonly code: string
    readonly message: string
    readonly hint: string
  }[]
}

export interface Engine {
  /** Begins a run of `config`, whose `engine` names this engine. */
  readonly start: (config: Config, options: RunOptions) => Run
  /**
   * Finds the model, prepares the data, and says what `start` would do.
   *
   * @throws InputError for whatever is missing or wrong
   */
  readonly plan: (config: Config, options: RunOptions) => Promise<EnginePlan>
}

/**
 * A run of `events`, begun at once. They need not be read: the run goes on all the same, and
 * `result` settles with what they return.
 */
export function startedRun(events: () => AsyncGenerator<RunEvent, RunResult>): Run {
  const queue = new EventQueue()
  const finished = async (): Promise<RunResult> => {
    const source = events()
    try {
      for (;;) {
        const next = await source.next()
        if (next.done) return next.value
        queue.push(next.value)
      }
    } finally {
      queue.end()
    }
  }
  const result = finished()
  // Whoever reads only the events must not be ended by an unhandled rejection: they see it here.
  result.catch(() => {})
  return {
    result,
    async *[Symbol.asyncIterator]() {
      yield* queue
      await result
    },
  }
}

/** Events waiting to be read. */
class EventQueue implements AsyncIterable<RunEvent> {
  readonly #waiting: RunEvent[] = []
  #ended = false
  #wake: () => void = () => {}

  push(event: RunEvent): void {
    this.#waiting.push(event)
    this.#wake()
  }
  end(): void {
    this.#ended = true
    this.#wake()
  }
  async *[Symbol.asyncIterator](): AsyncGenerator<RunEvent> {
    for (;;) {
      while (this.#waiting.length > 0) yield this.#waiting.shift()!
      if (this.#ended) return
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
    }
  }
}
