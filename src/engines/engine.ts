import type { Config } from "../config/index.ts"
import type { Begun } from "../host/begun.ts"
import type { RunEvent } from "../run/events.ts"
import type { Tracker } from "../trackers/index.ts"
import type { RunResult } from "../train/run.ts"

/** A run that is going on: its events as they happen, and how it ended. */
export type Run = Begun<RunEvent, RunResult>

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
