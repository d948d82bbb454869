/** What trackers read of a run's event: this layer stands below the runs. */
export interface TrackedEvent {
  readonly type: string
  /** ISO 8601. */
  readonly time: string
  /** Optimizer steps done. */
  readonly step: number
}

/**
 * Takes a run's events elsewhere, in order. The run waits for what `see` does before it returns.
 */
export interface Tracker {
  readonly name: string
  /** @throws Error where it can take no more; the run goes on without it */
  readonly see: (event: TrackedEvent) => void | Promise<void>
  /** After the last event. A run that is over waits for it for half a minute at most. */
  readonly close: () => void | Promise<void>
}

/** The run that a tracker is told of. */
export interface TrackedRun {
  readonly outputDir: string
  /** What it is set to. */
  readonly settings: Readonly<Record<string, unknown>>
}
